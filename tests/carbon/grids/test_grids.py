"""Installed annual averages against figures looked up in CodeCarbon's own files; a run's steps by hand."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.carbon.grids.trace import Trace
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet
from tests.carbon.conftest import NOW, trace
from tests.conftest import ROOT, choices, configured, record, records


@pytest.mark.parametrize(
    ("zone", "g_per_kwh"),
    [
        ("DE", 380.95),
        ("DEU", 380.95),
        ("WORLD", 475.0),
        ("US-AL", 713.976 * 0.45359237),  # lb/MWh in the table
        ("SE1", 25.9),
        ("CN-BJ", 555.4),
        ("gcp:africa-south1", 646.0),
        # 50.7% gas, 27.9 coal, 16.6 hydro, 3 wind, 1.2 biomass, .6 solar
        ("CA-SK", 0.507 * 743 + 0.279 * 995 + 0.196 * 26 + 0.012 * 230 + 0.006 * 48),
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


def test_a_synthetic_year_has_the_installed_average_and_a_day_its_shape() -> None:
    grid = configured("grid", "synthetic")
    year = [value for _, value in grid.steps("DE", NOW, NOW + timedelta(days=365) - timedelta(hours=1))]
    assert len(year) == 8760
    assert np.mean(year) == pytest.approx(380.95, rel=0.002)
    day = np.array(year).reshape(365, 24)
    assert set(day.argmin(axis=1)) == {12}
    assert set(day.argmax(axis=1)) <= {19, 20}
    assert day[14].mean() / day[197].mean() == pytest.approx(1.1 / 0.9, rel=0.01)
    # Two hours ahead, its noon is two hours earlier by UTC; steps begin with the hour in force.
    ahead = configured("grid", "synthetic", utc_offset_h={"DE": 2}).steps(
        "DE", NOW, NOW + timedelta(hours=23)
    )
    assert int(np.argmin([value for _, value in ahead])) == 10
    begin = NOW + timedelta(minutes=40)
    assert [since for since, _ in grid.steps("DE", begin, begin + timedelta(hours=1))] == [
        NOW,
        NOW + timedelta(hours=1),
    ]
    with pytest.raises(ConfigError, match="must be below 1"):
        Synthetic(midday_dip=0.9)
    with pytest.raises(ConfigError, match="unknown zone"):
        grid.steps("XX", NOW, NOW)


ROWS = """zone,utc,g
A,2030-01-01T00:00:00Z,10
B,2030-01-01 00:00Z,5
A,2030-01-01T01:00:00Z,20
A,2030-01-01T02:00:00Z,30
B,2030-01-01T01:30+01:00,6
"""


def hours(*values: str) -> str:
    """Rows of zone A, hour by hour."""
    rows = [f"A,2030-01-01T{k:02}:00Z,{value}" for k, value in enumerate(values)]
    return "\n".join(["zone,utc,g", *rows, ""])


def test_a_trace_by_hand(tmp_path: Path) -> None:
    grid = trace(tmp_path, ROWS)
    hour = timedelta(hours=1)
    assert grid.steps("A", NOW + hour / 2, NOW + 3 * hour) == [
        (NOW + k * hour, 10 * (k + 1)) for k in range(3)
    ]
    assert grid.steps("A", NOW + hour, NOW + hour) == [(NOW + hour, 20)]
    assert grid.steps("B", NOW, NOW + hour) == [(NOW, 5), (NOW + hour / 2, 6)]
    message = "A from 2030-01-01T00:00 to 2030-01-01T03:00, and the run is from .*T02:00 to .*T04:00; set"
    with pytest.raises(ConfigError, match=message):
        grid.steps("A", NOW + 2 * hour, NOW + 4 * hour)
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


def test_a_file_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress(ROWS.encode())[:40])
    with pytest.raises(ConfigError, match="grid.path: cannot read"):
        Trace(str(tmp_path / "trace.csv.gz"), "g")


def test_namibia_is_a_zone(tmp_path: Path) -> None:
    text = "zone,utc,g\nNA,2030-01-01T00+00,1\nNA,2030-01-01T01+00,2\n"
    assert trace(tmp_path, text).steps("NA", NOW, NOW) == [(NOW, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zone,utc\nA,2030-01-01\n", "grid.column: .* has no column 'g' .it has zone, utc"),
        ("zone,g\nA,1\n", "grid.path: .* has no column 'utc'"),
        ("", "cannot read"),
        ("zone,utc,g\nA,soon,1\nA,2030-01-02,1\n", "zone A, row 1: utc must be a time"),
        (
            "zone,utc,g\nA,2030-01-01T00Z,1\nA,2030-01-02T00:00,1\n",
            "zone A, row 2: utc must say its offset, as in .*2030-01-02T00:00: 1",
        ),
        ("zone,utc,g,utc\nA,2030-01-01T00Z,1,x\n", "has utc twice"),
        ("zone,utc,g\nA,2030-01-01T00Z,true\nA,2030-01-02T00Z,true\n", "is true or false, no number"),
        (hours("1", "-1"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "x"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "2001"), "zone A, row 2: g must be g/kWh, and no grid emits over 2000"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\nA,2030-01-01T00Z,1\n", "zone A: needs rows in order of time"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\nA,2030-01-02T00Z,1\n", "each once .2030-01-02T00:00 comes after"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\n", "needs more than one row"),
        (hours("1", "1", "1", "", "", "1"), "row 4: g must be a number"),
        (hours("1", "1", "1") + "A,2030-01-01T05:00Z,1\n", "a gap from 2030-01-01T02:00 to 2030-01-01T05:00"),
        (hours("1", "1", "1") + "A,2030-01-01T02:10Z,1\n", "rows overlap, 2030-01-01T02:00 and .*T02:10"),
    ],
)
def test_a_bad_trace_is_refused_before_anything_runs(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(tmp_path, text)
    with pytest.raises(ConfigError, match="grid.path: no such file"):
        Trace(str(tmp_path / "nowhere.csv"))


HOURLY = ROOT.parent / "shared" / "data" / "carbon" / "hourly_2020_2021.csv.gz"


@pytest.mark.skipif(not HOURLY.exists(), reason="the traces to validate against are not here")
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


@pytest.mark.skipif(not HOURLY.exists(), reason="the traces to validate against are not here")
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


EXPORT_HEADERS = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),"
    "Carbon Intensity gCO₂eq/kWh (LCA),Low Carbon Percentage,Renewable Percentage,Data Source,"
    "Data Estimated,Data Estimation Method",
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
    "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method",
)


@pytest.mark.parametrize("header", EXPORT_HEADERS)
def test_an_export_of_electricity_maps(tmp_path: Path, header: str) -> None:
    rows = [f"2030-01-01 0{k}:00:00,Land,Land,A,{10 + k},{20 + k},50,40,x,{k == 1},m" for k in range(3)]
    text = "\n".join([header, *rows])
    lifecycle = trace(tmp_path, text, column="lifecycle_g_per_kwh")
    assert lifecycle.steps("A", NOW, NOW + timedelta(hours=1))[1] == (NOW + timedelta(hours=1), 21)
    direct = trace(tmp_path, text, column="direct_g_per_kwh")
    assert direct.steps("A", NOW, NOW) == [(NOW, 10)]
    about = direct.about()
    assert about["estimated"] == "1 of 3 rows"
    assert about["factor"] == "direct_g_per_kwh"
    assert len(about["sha256"]) == 64


@pytest.mark.skipif(not HOURLY.exists(), reason="the traces to validate against are not here")
@pytest.mark.parametrize("form", ["parquet", "before 2024", "since 2024"])
def test_all_formats_give_the_same_ledger_to_the_last_digit(tmp_path: Path, form: str) -> None:
    table = pd.read_csv(HOURLY)
    table = table[table["zone"].isin(["DE", "PL"]) & table["utc"].str.startswith("2021-06")]
    if form == "parquet":
        path = tmp_path / "trace.parquet"
        table.assign(utc=pd.to_datetime(table["utc"])).to_parquet(path)
    else:
        path = tmp_path / "export.csv"
        header = EXPORT_HEADERS[form == "since 2024"].split(",")
        utc = pd.to_datetime(table["utc"]).dt.strftime("%Y-%m-%d %H:%M:%S")
        fields = [utc, "x", "x", table["zone"], table["direct_g_per_kwh"], table["lifecycle_g_per_kwh"]]
        columns = dict(zip(header, [*fields, 1, 1, "x", False, "x"], strict=True))
        pd.DataFrame(columns, index=table.index).to_csv(path, index=False)
    devices = tuple(
        Device(zone.lower(), memory_bytes=1, active_w=3, idle_w=1, zone=zone) for zone in ("DE", "PL")
    )
    fleet = Fleet("two", devices)
    begin = datetime(2021, 6, 1, 7, 20, tzinfo=UTC)
    rows = [
        record(k, 0, "compute", "de" if k % 3 else "pl", 977.0 * k, 977.0 * k + 4321.0) for k in range(300)
    ]
    run = replace(records(rows, 300_000.0, ("de", "pl")), start_utc=begin)
    first, second = (
        account(run, fleet, Intensity.of(fleet, Trace(str(each)), begin, 300_000.0), Accounting())
        for each in (HOURLY, path)
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["intensity_g_per_kwh"].nunique() > 100
