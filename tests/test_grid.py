"""Installed annual averages against figures looked up in CodeCarbon's own files; a run's steps by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from conftest import choices, configured
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import ConfigError, Device, Fleet
from pipeline.grid import Intensity, Static

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "g_per_kwh"),
    [
        ("DE", 380.95),
        ("DEU", 380.95),
        ("WORLD", 475.0),
        ("US-AL", 713.976 * 0.45359237),  # lb/MWh in the table
        ("SE1", 25.9),
    ],
)
def test_installed_averages(zone: str, g_per_kwh: float) -> None:
    [(since, value)] = Static().steps(zone, NOW, NOW)
    assert since == NOW
    assert value == pytest.approx(g_per_kwh)


def test_config_wins_over_the_tables() -> None:
    assert Static({"DE": 1.5, "LAB": 20}).steps("DE", NOW, NOW) == [(NOW, 1.5)]
    assert Static({"LAB": 20}).steps("LAB", NOW, NOW) == [(NOW, 20)]


def test_an_unknown_zone_names_the_device_and_a_way_out() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DEE")
    with pytest.raises(ConfigError, match=r"fleet.devices.pi.zone: unknown zone 'DEE' .did you mean .*DE"):
        Intensity.of(Fleet("one", (device,)), Static(), NOW)
    with pytest.raises(ConfigError, match="grid.zones: X must be a number >= 0"):
        Static({"X": -1})


def test_a_fixed_intensity_wins_over_the_zone() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DE", intensity_g_per_kwh=7.0)
    assert Intensity.of(Fleet("one", (device,)), Static(), NOW).at(0.0) == {"pi": 7.0}


@pytest.mark.parametrize("name", choices("fleet"))
def test_every_fleet_has_an_intensity_for_every_device(name: str) -> None:
    fleet = configured("fleet", name)
    values = Intensity.of(fleet, Static(), NOW).at(0.0).values()
    assert all(0 < value < 2000 for value in values)
    assert fleet.monolithic in fleet.by_name


class Hourly:
    """Zone A: 100, 200, 300 ... from 00:00 on; zone B changes at half past."""

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        shift = timedelta(minutes=30 if zone == "B" else 0)
        hours = [(NOW + shift + timedelta(hours=k), 100.0 * (k + 1)) for k in range(-1, 10)]
        first = max(k for k, (since, _) in enumerate(hours) if since <= begin)
        return [step for k, step in enumerate(hours) if k >= first and step[0] <= end]


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
    assert run.mean("A", [2400, 2700, 0, 2400], [3000, 2700, 600, 2400]).tolist() == [150, 200, 100, 100]
    assert run.mean("A", 0, 9900) == pytest.approx((2700 * 100 + 3600 * 200 + 3600 * 300) / 9900)
    assert run.mean("F", [0, 10], [1e6, 10]).tolist() == [7, 7]


@given(st.lists(st.floats(0, 20_000), min_size=2, max_size=6))
def test_the_mean_of_parts_is_the_mean_of_the_whole(times: list[float]) -> None:
    run = Intensity(("A",), np.array([0.0, 100, 5000, 9000]), np.array([[10.0, 500, 0, 90]]))
    times = sorted(times)
    grams = [float(run.mean("A", a, b)) * (b - a) for a, b in itertools.pairwise(times)]
    whole = float(run.mean("A", times[0], times[-1])) * (times[-1] - times[0])
    assert sum(grams) == pytest.approx(whole, abs=1e-6)
