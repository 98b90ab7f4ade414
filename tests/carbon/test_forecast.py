"""Forecasts of a grid with a known value for each hour."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.carbon.forecast import forecast
from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet

FLEET = Fleet(
    "f", (Device("a", 1e9, 10, zone="DE"), Device("b", 1e9, 10, zone="DE"), Device("c", 1e9, 10, zone="SE"))
)
# Hour k has the value 100 + k in all zones.
HOURS = Intensity(
    ("a", "b", "c"), np.arange(48, dtype=np.float64) * 3600, np.tile(100.0 + np.arange(48), (3, 1))
)


def test_perfect_is_the_truth() -> None:
    seen = forecast("perfect", FLEET, HOURS, 40, error=0.1, seed=0)
    assert seen.tolist() == [[140, 141, 142, 143, 144, 145, 146, 147]] * 3


def test_persistence_is_the_value_a_day_before_or_else_the_present_one() -> None:
    # At 06:00 of the second day (hour 30): now 130, then hours 7, 8 ... of the first.
    seen = forecast("persistence", FLEET, HOURS, 30, error=0.1, seed=0)
    assert seen[0, :3].tolist() == [130, 107, 108]
    # In hour 5 of the first day hours 0 to 5 are known, and so those of the second; all else is as now.
    seen = forecast("persistence", FLEET, HOURS, 5, error=0.1, seed=0)
    assert seen[0].tolist() == [105] * 19 + [100, 101, 102, 103, 104] + [105] * 19


def test_persistence_never_looks_ahead() -> None:
    other = Intensity(HOURS.names, HOURS.since_s, np.where(np.arange(48) > 20, 999.0, HOURS.g_per_kwh))
    a, b = (forecast("persistence", FLEET, known, 20, error=0.1, seed=0) for known in (HOURS, other))
    assert np.array_equal(a, b)


def test_noise_is_seeded_the_same_in_a_zone_and_spares_the_present() -> None:
    seen = forecast("noisy", FLEET, HOURS, 10, error=0.2, seed=1)
    assert np.array_equal(seen, forecast("noisy", FLEET, HOURS, 10, error=0.2, seed=1))
    assert not np.array_equal(seen, forecast("noisy", FLEET, HOURS, 10, error=0.2, seed=2))
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    assert seen[:, 0].tolist() == [110] * 3
    # The forecast of an hour does not change from one hour to the next.
    assert np.array_equal(seen[:, 2:], forecast("noisy", FLEET, HOURS, 11, error=0.2, seed=1)[:, 1:])


def test_noise_has_the_spread_of_its_error() -> None:
    many = Intensity(("a", "b", "c"), np.arange(20_000, dtype=np.float64) * 3600, np.full((3, 20_000), 100.0))
    seen = forecast("noisy", FLEET, many, 0, error=0.2, seed=1)[0, 1:]
    assert seen.mean() == pytest.approx(100, rel=0.01)
    assert np.log(seen).std() == pytest.approx(0.2, rel=0.03)
