"""Values that cannot be are refused at birth, in one line: the key, the value, what was expected."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import Plan

DEVICE = {"memory_bytes": 1e9, "active_w": 5.0, "zone": "DE"}


def test_a_stage_is_the_half_open_range_between_two_bounds() -> None:
    plan = Plan((0, 3, 7), ("a", "auto"))
    assert [plan.stage(k) for k in range(plan.num_stages)] == [(0, 3), (3, 7)]


@pytest.mark.parametrize("bounds", [(0,), (1, 3), (0, 3, 3), (0, 5, 2)])
def test_bounds_must_rise_strictly_from_0(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"rise strictly from 0 \(bounds: \("):
        Plan(bounds, ("a",) * (len(bounds) - 1))


def test_numpys_numbers_and_texts_become_pythons_own() -> None:
    """Of numpy's, a run could not write its plan once it was computed."""
    bounds, devices, order = np.array([0, 1, 3]), np.array(["a", "auto"]), np.array([1, 0, 2])
    plan = Plan(bounds, devices, order)  # type: ignore[arg-type]
    assert plan == Plan((0, 1, 3), ("a", "auto"), (1, 0, 2))
    assert {type(value) for value in plan.bounds + plan.order} == {int}
    assert {type(value) for value in plan.devices} == {str}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"bounds": (0, 76.0, 153.0)}, "bounds must be whole numbers (bounds: (0, 76.0, 153.0))"),
        ({"bounds": (False, 76, 153)}, "bounds must be whole numbers (bounds: (False, 76, 153))"),
        ({"bounds": None}, "bounds must be whole numbers (bounds: (None,))"),
        ({"order": ("0", 1)}, "order must be whole numbers (order: ('0', 1))"),
        ({"devices": ("a", 1)}, "devices must be a list of names (devices: ('a', 1))"),
        ({"devices": "ab"}, "devices must be a list of names (devices: ab)"),
        ({"devices": None}, "devices must be a list of names (devices: None)"),
    ],
)
def test_what_is_no_number_of_layers_and_no_name_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}$"):
        Plan(**({"bounds": (0, 76, 153), "devices": ("a", "b")} | fields))


def test_a_plan_needs_a_device_for_each_stage() -> None:
    with pytest.raises(ConfigError, match="a device .or auto. for each stage"):
        Plan((0, 2, 4), ("a",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_bytes": 0}, r"fleet.devices.d: memory_bytes must be a number > 0 \(memory_bytes: 0\)"),
        ({"memory_bytes": None}, "fleet.devices.d: memory_bytes must be a number > 0"),
        ({"active_w": 1.0, "idle_w": 2.0}, r"idle_w must be at most active_w, 1 \(idle_w: 2.0\)"),
        ({"active_w": -1.0}, r"active_w must be a number >= 0 \(active_w: -1.0\)"),
        ({"reference_latency_s": 1e-300}, r"reference_latency_s must be a number >= 1e-06 \("),
        ({"cpu_quota": 1e9}, r"cpu_quota must be at most 10000 \("),
        ({"idle_w": float("nan")}, "idle_w must be a number >= 0"),
        ({"pue": 0.9}, r"pue must be a number >= 1 \(pue: 0.9\)"),
        ({"speed": 0}, "speed must be a number > 0"),
        ({"cpu_quota": "fast"}, "cpu_quota must be a number > 0"),
        ({"zone": None}, "zone or intensity_g_per_kwh must be given"),
        ({"intensity_g_per_kwh": -1}, "intensity_g_per_kwh must be a number >= 0"),
        ({"colour": "red"}, "fleet.devices.d: unknown key 'colour' .known: .*memory_bytes"),
    ],
)
def test_a_device_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fleet.of("f", {"d": {**DEVICE, **change}})


@pytest.mark.parametrize("name", ["a->b", "a,b", "", "a b", 1, "-a"])
def test_names_that_would_not_survive_a_config_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="a device's name must be letters, digits|key 1 must be text"):
        Fleet.of("f", {name: DEVICE})


def test_a_device_without_memory_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"fleet.devices.d: missing 'memory_bytes'"):
        Fleet.of("f", {"d": {"active_w": 5.0, "zone": "DE"}})


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"bandwidth_bytes_per_s": -1}, r"fleet.links.lan: bandwidth_bytes_per_s must be a number > 0"),
        ({"bandwidth_bytes_per_s": 1, "latency_s": -1}, "latency_s must be a number >= 0"),
        ({"bandwidth_bytes_per_s": 1, "between": ["a", "nobody"]}, "unknown device 'nobody'"),
        ({"bandwidth_bytes_per_s": 1, "between": ["a", "a"]}, "two different devices"),
    ],
)
def test_a_link_that_cannot_be(link: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fleet.of("f", {"a": DEVICE, "b": DEVICE}, {"lan": link})


def test_the_link_of_a_pair_wins_over_the_link_of_all() -> None:
    fast, slow = Link("fast", 1e9, between=("a", "b")), Link("slow", 1e6)
    devices = tuple(Device(name, 1e9, 5.0, zone="DE") for name in "abc")
    fleet = Fleet("f", devices, (slow, fast))
    assert fleet.link("b", "a") is fast
    assert fleet.link("a", "c") is slow
    assert Fleet("f", devices, (fast,)).link("a", "c") is None


def test_a_transfer_takes_latency_and_bytes_over_bandwidth() -> None:
    assert Link("lan", bandwidth_bytes_per_s=2e6, latency_s=0.25).transfer_s(1e6) == 0.75
