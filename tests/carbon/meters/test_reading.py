"""Every meter refuses a short reading and bad settings."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.carbon.meters.code_carbon import CodeCarbon
from pipeline.carbon.meters.cpu_time import CpuTime
from pipeline.carbon.meters.external import External
from pipeline.carbon.meters.reading import NoMeter, Reading, metered
from pipeline.domain.checks import ConfigError
from tests.conftest import choices, configured


@pytest.mark.parametrize("meter", [CodeCarbon(interval_s=1.0), CpuTime(interval_s=1.0)])
def test_a_short_reading_is_refused_with_the_length_that_it_needs(meter: Any) -> None:
    with meter.measure() as reading:
        time.sleep(0.1)
    assert reading.metrics == {}
    assert reading.method.endswith("is fewer than 10 intervals of 1 s; it needs a run of 10 s")


@pytest.mark.parametrize("joules", [-1.0, math.nan, math.inf, 1e300])
def test_an_energy_that_cannot_be_is_refused(joules: float) -> None:
    reading = Reading()
    reading.fill("sensor", "metered", "WORLD", joules, 10.0, 0.25, samples=40)
    assert reading.metrics == {}
    assert reading.method == f"refused: sensor read {joules:g} J in 10.00 s, which cannot be"


def test_no_meter_reads_nothing() -> None:
    with NoMeter().measure() as reading:
        pass
    assert reading.metrics == {}


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="meter.zone: unknown zone 'QUE'"):
        CodeCarbon(zone="QUE")
    with pytest.raises(ConfigError, match="meter.zone: unknown zone 'QUE'"):
        CpuTime(zone="QUE")
    with pytest.raises(ConfigError, match="core_w must be a number > 0"):
        CpuTime(core_w=0)
    with pytest.raises(ConfigError, match="meter.path: no such file"):
        External("no.csv")


@pytest.mark.parametrize("name", choices("meter"))
def test_every_file_builds_a_meter(name: str, tmp_path: Path) -> None:
    (tmp_path / "wall.csv").write_text("utc,power_w\n")
    more = {"path": str(tmp_path / "wall.csv")} if name == "external" else {}
    assert hasattr(configured("meter", name, **more), "measure")


class Fragile:
    """A meter that fails when the run has ended."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        reading = Reading({"host_energy_j": 1.0})
        yield reading
        raise RuntimeError("the sensor is gone\nat line 3")


def test_a_meter_that_fails_costs_no_run_its_results() -> None:
    with metered(Fragile()) as reading:
        pass
    assert reading.metrics == {}
    assert reading.method == "refused: the sensor is gone"
    with pytest.raises(KeyError, match="of the run"), metered(Fragile()):
        raise KeyError("of the run")
