"""CodeCarbon over enough samples."""

from __future__ import annotations

import time

import pytest

from pipeline.carbon.meters.code_carbon import CodeCarbon


def test_codecarbon_over_enough_samples() -> None:
    with CodeCarbon(zone="DE", interval_s=0.1).measure() as reading:
        time.sleep(1.2)
    energy_j = reading.metrics["host_energy_j"]
    assert 0.1 < energy_j < 1.5 * 2000  # between 0.07 W and 2 kW
    assert reading.metrics["host_carbon_g"] == pytest.approx(energy_j / 3.6e6 * 380.95)
    assert reading.method.startswith("codecarbon, whole machine, ")
    assert reading.about["tier"] in ("metered", "estimated")
    assert reading.about["samples"] >= 10
