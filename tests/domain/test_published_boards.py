"""The boards of conf/fleet against the joules that were published for them."""

from __future__ import annotations

import pytest

from pipeline.domain.fleet import Device, Fleet
from tests.conftest import configured

MEASURED_J = {
    "pi4b": {"TensorFlow Lite": 0.7179, "TensorFlow": 0.977},
    "jetson_nano": {"TensorFlow Lite": 0.6239, "TensorFlow": 0.6852, "frozen graph": 0.7511},
}
"""Joules per MobileNetV2 (float32) on the CPU, whole board, by runtime: DeepEdgeBench (arXiv 2108.09457)."""


def joules(device: Device, active_w: float) -> float:
    assert device.reference_latency_s is not None
    return active_w * device.reference_latency_s


@pytest.mark.parametrize("name", MEASURED_J)
def test_an_inference_takes_the_joules_that_were_measured(name: str) -> None:
    device = configured("fleet", "boards").by_name[name]
    measured = MEASURED_J[name]
    assert joules(device, device.active_w) == pytest.approx(measured["TensorFlow Lite"], rel=1e-3)
    low, high = (joules(device, end) for end in device.ranges["active_w"])
    assert low <= min(measured.values()) * 1.001
    assert high >= max(measured.values())


@pytest.mark.parametrize("fleet_name", ["board", "europe"])
def test_the_range_of_mixed_sources_covers_what_was_measured(fleet_name: str) -> None:
    fleet: Fleet = configured("fleet", fleet_name)
    for device in fleet.devices:
        low, high = (joules(device, end) for end in device.ranges["active_w"])
        assert low < min(MEASURED_J["pi4b"].values()) < max(MEASURED_J["pi4b"].values()) <= high


def test_every_power_of_a_board_says_whether_it_was_measured() -> None:
    for device in configured("fleet", "boards").devices:
        assert device.sources["active_w"].startswith(("measured: ", "assumed: "))
        assert f"{joules(device, device.active_w):#.3g} J" in device.sources["active_w"]
        assert "active_w" in device.ranges
