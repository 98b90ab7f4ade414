"""The intensity of a run's devices by hand; where the grid ends before the run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.carbon.grid import Grid
from pipeline.carbon.grids.static import Static
from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet
from tests.carbon.conftest import NOW, trace


def test_an_unknown_zone_names_the_device_and_similar_zones() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DEE")
    with pytest.raises(ConfigError, match=r"fleet.devices.pi.zone: unknown zone 'DEE' .did you mean .*DE"):
        Intensity.of(Fleet("one", (device,)), Static(), NOW)
    with pytest.raises(ConfigError, match="grid.zones: X must be a number >= 0"):
        Static({"X": -1})


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("UK", "did you mean GB; or give its average, as by +grid.zones.UK=300"),
        (
            "US-NW-BPAT",
            "known are, for example, DE, .*; or give its average, as by .grid.zones.US-NW-BPAT=300",
        ),
    ],
)
def test_codes_that_people_have_are_told_what_to_write(zone: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint.replace("+", "[+]")):
        Static().steps(zone, NOW, NOW)
    assert Static({zone: 300.0}).steps(zone, NOW, NOW) == [(NOW, 300.0)]


def test_a_fixed_intensity_wins_over_the_zone() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DE", intensity_g_per_kwh=7.0)
    assert Intensity.of(Fleet("one", (device,)), Static(), NOW).at(0.0) == {"pi": 7.0}


def test_a_fleet_of_one_zone_asks_once_and_not_for_more_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [Device(f"d{k}", memory_bytes=1, active_w=1, zone="A") for k in range(50)]
    asked: list[str] = []

    class Counted(Hourly):
        def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
            asked.append(zone)
            return super().steps(zone, begin, end)

    found = Intensity.of(Fleet("equal", tuple(devices)), Counted(), NOW, 3600.0)
    assert asked == ["A"]
    assert found.g_per_kwh.shape == (50, 2)
    monkeypatch.setattr("pipeline.carbon.intensity.MOST_VALUES", 99)
    with pytest.raises(ConfigError, match="^grid: 100 devices x steps are needed at once, and at most 99"):
        Intensity.of(Fleet("equal", tuple(devices)), Counted(), NOW, 3600.0)
    monkeypatch.setattr("pipeline.carbon.intensity.MOST_VALUES", 1)
    with pytest.raises(ConfigError, match="^grid: 2 steps of zones are needed"):
        Intensity.of(Fleet("equal", tuple(devices)), Counted(), NOW, 3600.0)


class Hourly:
    """Zone A: 100, 200, 300 ... from 00:00 on; zone B changes at half past."""

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        shift = timedelta(minutes=30 if zone == "B" else 0)
        hours = [(NOW + shift + timedelta(hours=k), 100.0 * (k + 1)) for k in range(-1, 10)]
        first = max(k for k, (since, _) in enumerate(hours) if since <= begin)
        return [step for k, step in enumerate(hours) if k >= first and step[0] <= end]

    def about(self) -> dict[str, str]:
        return {}


def test_a_run_s_intensity_by_hand() -> None:
    devices = [Device(name, memory_bytes=1, active_w=1, zone=name) for name in "AB"]
    fixed = Device("F", memory_bytes=1, active_w=1, intensity_g_per_kwh=7)
    fleet = Fleet("three", (*devices, fixed))
    begin = NOW + timedelta(minutes=15)
    run = Intensity.of(fleet, Hourly(), begin, 2 * 3600)
    # A changes 45 and 105 min after the begin, B (0 before the half hour) after 15 and 75.
    assert run.since_s.tolist() == [0, 900, 2700, 4500, 6300]
    assert run.at(0) == run.at(899) == {"A": 100, "B": 0, "F": 7}
    assert run.at(900) == {"A": 100, "B": 100, "F": 7}
    assert run.at(1e9) == {"A": 300, "B": 200, "F": 7}
    # From 40 to 50 min: 5 min of 100 and 5 of 200. An empty interval has what holds at its begin.
    assert run.mean(0, [2400, 2700, 0, 2400], [3000, 2700, 600, 2400]).tolist() == [150, 200, 100, 100]
    assert run.mean(0, 0, 9900) == pytest.approx((2700 * 100 + 3600 * 200 + 3600 * 300) / 9900)
    assert run.mean(2, [0, 10], [1e6, 10]).tolist() == [7, 7]


@given(st.lists(st.floats(0, 20_000), min_size=2, max_size=6))
def test_the_mean_of_parts_is_the_mean_of_the_whole(times: list[float]) -> None:
    run = Intensity(("A",), np.array([0.0, 100, 5000, 9000]), np.array([[10.0, 500, 0, 90]]))
    times = sorted(times)
    grams = [float(run.mean(0, a, b)) * (b - a) for a, b in itertools.pairwise(times)]
    whole = float(run.mean(0, times[0], times[-1])) * (times[-1] - times[0])
    assert sum(grams) == pytest.approx(whole, abs=1e-6)


def test_where_a_grid_ends_before_the_run_its_last_value_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """100 g/kWh in the first minute, then 1,000; the trace ends after four, and the run after eight."""
    times = [NOW + timedelta(minutes=k) for k in range(4)]
    rows = [f"DE,{at:%Y-%m-%dT%H:%M}Z,{100 if at == NOW else 1000}" for at in times]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows]))
    fleet = Fleet("one", (Device("pi", memory_bytes=1, active_w=1, zone="DE"),))
    known = Intensity.of(fleet, grid, NOW, 0.0)
    extended = known.whole(480.0)
    assert extended.mean(0, 0.0, 480.0) == pytest.approx((60 * 100 + 420 * 1000) / 480)
    assert "the last known intensity is assumed to hold to the end of the run" in caplog.text
    whole = Intensity.of(fleet, grid, NOW).whole(200.0)
    assert whole.mean(0, 0.0, 200.0) == pytest.approx((60 * 100 + 140 * 1000) / 200)
    assert len(caplog.records) == 1


class Counted:
    """A trace that counts the questions."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.asked = grid, list[tuple[datetime, datetime]]()

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        self.asked.append((begin, end))
        return self.grid.steps(zone, begin, end)

    def about(self) -> Mapping[str, str]:
        return self.grid.about()


def test_a_run_s_intensity_is_asked_for_bit_by_bit(tmp_path: Path) -> None:
    """Ten minutes; whoever asks for more of the run gets the same series, and no period twice."""
    rows = [f"DE,{NOW + timedelta(minutes=k):%Y-%m-%dT%H:%M}Z,{100 * k}" for k in range(10)]
    grid = Counted(trace(tmp_path, "\n".join(["zone,utc,g", *rows])))
    start = Intensity.of(Fleet("one", (Device("pi", 1, 1, zone="DE"),)), grid, NOW)
    assert (start.known_s, start.holds_until_s(0.0)) == (0, 0)
    some = start.until(150.0)
    assert some.since_s.tolist() == [0, 60, 120]
    assert some.holds_until_s(70.0) == 120
    assert some.until(100.0) is some
    assert start.until(150.0) is some
    more = some.until(300.0)
    assert more.since_s.tolist() == [0, 60, 120, 180, 240, 300]
    assert more.g_per_kwh.tolist() == [[0, 100, 200, 300, 400, 500]]
    assert [(end - NOW).total_seconds() for _, end in grid.asked] == [0, 150, 300]
    assert more.before(200.0).since_s.tolist() == [0, 60, 120, 180]
    whole = start.until(5000.0)  # refused with the end of the data, then asked for up to that
    assert (whole.known_s, len(whole.since_s)) == (600, 10)
    assert len(grid.asked) == 5
    assert start.until(6000.0) is whole  # the grid has said so
    assert len(grid.asked) == 5


def test_a_device_whose_zone_ends_first_ends_the_series(tmp_path: Path) -> None:
    rows = [
        f"{zone},{NOW + timedelta(minutes=k):%Y-%m-%dT%H:%M}Z,{k}"
        for zone, count in (("A", 9), ("B", 4))
        for k in range(count)
    ]
    fleet = Fleet("two", tuple(Device(zone, 1, 1, zone=zone) for zone in "AB"))
    found = Intensity.of(fleet, trace(tmp_path, "\n".join(["zone,utc,g", *rows])), NOW).until(1000.0)
    assert found.known_s == 240
    assert found.at(1e6) == {"A": 4, "B": 3}
