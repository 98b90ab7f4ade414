"""Steps of a trace by hand, and of a real one against pandas."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.trace import Trace
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet
from tests.carbon.conftest import HOURLY, NOW, ROWS, trace
from tests.conftest import record, records


def test_a_trace_by_hand(tmp_path: Path) -> None:
    grid = trace(tmp_path, ROWS)
    hour = timedelta(hours=1)
    assert grid.steps("A", NOW + hour / 2, NOW + 3 * hour) == [
        (NOW + k * hour, 10 * (k + 1)) for k in range(3)
    ]
    assert grid.steps("A", NOW + hour, NOW + hour) == [(NOW + hour, 20)]
    assert grid.steps("B", NOW, NOW + hour) == [(NOW, 5), (NOW + hour / 2, 6)]
    message = "zone A: has 2030-01-01T00:00 to 2030-01-01T03:00, and the run needs .*T02:00 to .*T04:00; set"
    with pytest.raises(ConfigError, match=message):
        grid.steps("A", NOW + 2 * hour, NOW + 4 * hour)
    with pytest.raises(NotCoveredError) as ended:
        grid.steps("A", NOW + 2 * hour, NOW + 4 * hour)
    assert ended.value.until == NOW + 3 * hour
    with pytest.raises(ConfigError, match="set start_utc within it, or grid.wrap=true"):
        grid.steps("A", NOW - hour, NOW)
    with pytest.raises(ConfigError, match="has no 'C' .it has A, B"):
        grid.steps("C", NOW, NOW)
    wrapped = trace(tmp_path, ROWS, wrap=True)
    assert wrapped.steps("A", NOW - hour, NOW + 3.5 * hour) == [
        (NOW + k * hour, value) for k, value in zip(range(-1, 4), (30, 10, 20, 30, 10), strict=True)
    ]
    table = pd.read_csv(tmp_path / "trace.csv")
    table.to_parquet(tmp_path / "trace.parquet")
    assert Trace(str(tmp_path / "trace.parquet"), "g").steps("A", NOW, NOW) == [(NOW, 10)]


def test_rows_that_would_repeat_millions_of_times_are_refused(tmp_path: Path) -> None:
    """Two rows a second apart over a year."""
    text = "zone,utc,g\nA,2030-01-01T00:00:00Z,1\nA,2030-01-01T00:00:01Z,2\n"
    grid = trace(tmp_path, text, wrap=True)
    assert len(grid.steps("A", NOW, NOW + timedelta(seconds=60))) == 61
    with pytest.raises(
        ConfigError, match=r"^zone: .* A: grid\.wrap would repeat 3\.15e\+07 rows within the run"
    ):
        grid.steps("A", NOW, NOW + timedelta(days=365))


@pytest.mark.skipif(not HOURLY.exists(), reason="the real trace is not here")
def test_a_real_trace_against_pandas() -> None:
    begin = datetime(2021, 6, 1, 7, 20, tzinfo=UTC)
    device = Device("pi", memory_bytes=1, active_w=1, zone="DE")
    week_s = 7 * 86400.0
    run = Intensity.of(Fleet("one", (device,)), Trace(str(HOURLY)), begin, week_s)
    table = pd.read_csv(HOURLY)
    german = table[table["zone"] == "DE"].set_index(
        pd.to_datetime(table.loc[table["zone"] == "DE", "utc"], utc=True)
    )
    hours = german["lifecycle_g_per_kwh"]["2021-06-01T07":"2021-06-08T07"]
    weights = np.ones(len(hours))
    weights[0], weights[-1] = 40 / 60, 20 / 60
    assert float(run.mean(0, 0.0, week_s)) == pytest.approx(np.average(hours, weights=weights))
    assert run.at(0.0)["pi"] == hours.iloc[0]


@pytest.mark.skipif(not HOURLY.exists(), reason="the real trace is not here")
def test_a_day_differs_from_the_annual_mean_by_what_the_hours_say() -> None:
    """DE on 9 June 2021, a board busy from 10:00 to 14:00 UTC: sunny hours are cleaner than the year."""
    table = pd.read_csv(HOURLY)
    table = table[(table["zone"] == "DE") & table["utc"].str.startswith("2021")]
    annual = float(table["lifecycle_g_per_kwh"].mean())
    day = table[table["utc"].str.startswith("2021-06-09")]["lifecycle_g_per_kwh"].to_numpy()
    fleet = Fleet("one", (Device("pi", memory_bytes=1, active_w=5, idle_w=2, zone="DE"),))
    begin = datetime(2021, 6, 9, tzinfo=UTC)
    rows = [record(k, 0, "compute", "pi", 3600.0 * k, 3600.0 * (k + 1)) for k in range(10, 14)]
    run = replace(records(rows, 86400.0, ("pi",)), start_utc=begin)
    grams = []
    for grid in (Trace(str(HOURLY)), Static({"DE": annual})):
        ledger = account(run, fleet, Intensity.of(fleet, grid, begin, 86400.0), Accounting("full"))
        grams.append(float(ledger["carbon_g"].sum()))
    by_hour_j = np.full(24, 2 * 3600.0) + np.where(
        (np.arange(24) >= 10) & (np.arange(24) < 14), 3 * 3600.0, 0
    )
    assert grams[0] == pytest.approx(float(by_hour_j @ day) / 3.6e6, rel=1e-12)
    assert grams[1] == pytest.approx(by_hour_j.sum() * annual / 3.6e6, rel=1e-12)
    assert abs(grams[0] / grams[1] - 1) > 0.05
