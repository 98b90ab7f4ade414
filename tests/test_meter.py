"""The host's own energy: read over enough samples, refused over too few."""

from __future__ import annotations

import time

import pytest

from pipeline.domain import ConfigError
from pipeline.meter import CodeCarbon, NoMeter


def test_a_reading_over_enough_samples() -> None:
    with CodeCarbon(zone="DE", interval_s=0.3).measure() as reading:
        time.sleep(1.5)
    energy_j = reading.metrics["host_energy_j"]
    assert 0.1 < energy_j < 1.5 * 2000  # between 0.07 W and 2 kW
    assert reading.metrics["host_carbon_g"] == pytest.approx(energy_j / 3.6e6 * 380.95)
    assert reading.method.startswith("codecarbon, whole machine, ")


def test_a_short_reading_is_refused_not_printed() -> None:
    with CodeCarbon(interval_s=1.0).measure() as reading:
        time.sleep(0.1)
    assert reading.metrics == {}


def test_no_meter_reads_nothing() -> None:
    with NoMeter().measure() as reading:
        pass
    assert reading.metrics == {}


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="meter.zone: unknown zone 'QUE'"):
        CodeCarbon(zone="QUE")
