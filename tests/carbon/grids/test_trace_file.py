"""Files of every format give the same ledger; a bad file is one line."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.trace import Trace
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet
from tests.carbon.conftest import HOURLY, NOW, ROWS, trace
from tests.conftest import record, records


def hours(*values: str) -> str:
    """Rows of zone A, hour by hour."""
    rows = [f"A,2030-01-01T{k:02}:00Z,{value}" for k, value in enumerate(values)]
    return "\n".join(["zone,utc,g", *rows, ""])


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
        ("zone,utc,g,utc\nA,2030-01-01T00Z,1,x\n", "has utc twice"),
        ("zone,utc,g\nA,2030-01-01T00Z,true\nA,2030-01-02T00Z,true\n", "has no number in the column 'g'"),
        ("zone,utc,g\n", "has no number in the column 'g'"),
        (
            "zone,utc,g\nA,2030-01-01T00Z,1,5\n",
            "rows have more fields than the header 'zone,utc,g'; separate",
        ),
    ],
)
def test_a_file_that_is_no_trace_is_refused_when_it_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(tmp_path, text)
    with pytest.raises(ConfigError, match="grid.path: no such file"):
        Trace(str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "zone,utc,g\nA,01/06/2021 00:00,1\nA,01/06/2021 01:00,1\n",
            r"than one time; row 1: utc must be a time as in 2021-06-01T00:00Z \(01/06/2021 00:00: 1\)",
        ),
        (
            hours("1", "1", "1") + "A,01.01.2030 03:00,1\n",
            r"has .*T03:00, and .*grid.wrap=true; row 4: utc must be a time .*\(01.01.2030 03:00: 1\)$",
        ),
        (
            "zone,utc,g\n" + "".join(f"A,2030-01-01T0{k}:00Z,1\nA,01/01/2030 0{k}:30,9\n" for k in range(8)),
            r"zone A, row 2: utc must be a time as in 2021-06-01T00:00Z \(01/01/2030 00:30: 9\), and the run",
        ),
        ("zone,utc,g\nA,soon,1\nA,2030-01-02T00Z,1\n", "zone A: needs rows of more than one time"),
        (
            "zone,utc,g\nA,2030-01-01T00Z,1\nA,2030-01-02T00:00,1\n",
            "zone A, row 2: utc must state its offset, as in .*2030-01-02T00:00: 1",
        ),
        ("zone,utc,g\nA,2030-01-02T00Z,1\n", "needs rows of more than one time"),
        (hours("1", "-1"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "x"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "2001"), "zone A, row 2: g must be at most 2000 g/kWh, as no grid emits more"),
        (hours("1", "1") + "A,2030-01-01T01:00Z,2\n", "row 3: a row before has that time, and another value"),
        (
            "zone,utc,g\nA,2030-01-01T00:00:00Z,1\nA,2030-01-01T00:00:00.5Z,1\nA,2030-01-01T02:00Z,1\n",
            r"zone A, row 2: rows must be at least 1 s apart \(2030-01-01T00:00:00.5Z: 1\)",
        ),
        (hours("1", "1", "1", "", "", "1"), r"row 4: g must be a number >= 0 \(2030-01-01T03:00Z: \)"),
        (hours("1", "1", "1") + "A,2030-01-01T05:00Z,1\n", "a gap from 2030-01-01T03:00 to 2030-01-01T05:00"),
        (
            hours("1", "1", "1", "1", "1") + "A,2030-01-01T02:10Z,1\n",
            "row 6: it follows too soon on the row before",
        ),
    ],
)
def test_a_bad_row_within_a_run_is_refused_with_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(tmp_path, text).steps("A", NOW, NOW + timedelta(hours=5, minutes=30))


OUTSIDE = "A,2030-01-02T0{}:00Z,{}\n"


@pytest.mark.parametrize(
    "rows",
    [
        OUTSIDE.format(0, 5) + OUTSIDE.format(1, "unavailable") + OUTSIDE.format(2, ""),
        OUTSIDE.format(0, -0.02) + OUTSIDE.format(0, 7) + OUTSIDE.format(1, 1e9),
        "A,yesterday,5\nA,1000-01-01T00:00Z,5\nA,9999-12-31T23:59Z,5\nA,,\n",
        "B,2030-01-01T00:00,-1\nB,never,x\n,,\n",
        "A,2030-01-02T00:00Z",
        'A,"2030-01-02T00:0',
    ],
)
def test_what_lies_outside_a_run_does_it_no_harm(tmp_path: Path, rows: str) -> None:
    """Another month, another zone, rows without a time, a last line that was never finished."""
    hour = timedelta(hours=1)
    grid = trace(tmp_path, hours("10", "20", "30") + rows)
    assert [value for _, value in grid.steps("A", NOW, NOW + 2.5 * hour)] == [10, 20, 30]
    with pytest.raises(ConfigError):
        grid.steps("A", NOW, NOW + 26 * hour)


def test_a_run_ends_where_a_gap_begins(tmp_path: Path) -> None:
    """Days apart: the last hour before is whole, and no value holds until the month after."""
    later = [f"A,2030-02-01T0{k}:00Z,400" for k in range(3)]
    grid, hour = trace(tmp_path, hours("1", "1", "1") + "\n".join(later)), timedelta(hours=1)
    assert len(grid.steps("A", NOW, NOW + 3 * hour)) == 3
    with pytest.raises(
        NotCoveredError, match="zone A, a gap from 2030-01-01T03:00 to 2030-02-01T00:00"
    ) as at:
        grid.steps("A", NOW, NOW + 3.5 * hour)
    assert at.value.until == NOW + 3 * hour
    with pytest.raises(
        ConfigError, match="a gap from 2030-01-05T00:00 to 2030-02-01T00:00, and the run needs"
    ):
        grid.steps("A", NOW + timedelta(days=4), NOW + timedelta(days=4))


@pytest.mark.parametrize("quarters_first", [False, True])
def test_steps_may_change_within_a_file(tmp_path: Path, quarters_first: bool) -> None:
    """Hours, then quarters, as European prices and intensities since October 2025; and the reverse."""
    minutes = [*range(0, 240, 15), *range(240, 600, 60)] if quarters_first else [
        *range(0, 360, 60), *range(360, 600, 15)
    ]  # fmt: skip
    rows = [f"A,{(NOW + timedelta(minutes=m)).isoformat()},{m}" for m in minutes]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows, ""]))
    found = grid.steps("A", NOW, NOW + timedelta(minutes=599))
    assert [(at - NOW) / timedelta(minutes=1) for at, _ in found] == minutes
    for missing in (120, 480):  # an hour, or a quarter
        kept = [row for m, row in zip(minutes, rows, strict=True) if m != missing]
        gappy = trace(tmp_path, "\n".join(["zone,utc,g", *kept, ""]))
        with pytest.raises(NotCoveredError, match="a gap from"):
            gappy.steps("A", NOW, NOW + timedelta(minutes=599))


def test_the_newest_row_may_be_the_first_and_a_row_may_come_twice(tmp_path: Path) -> None:
    rows = [f"A,2030-01-01T{k:02}:00Z,{k}" for k in (4, 3, 3, 2, 1, 0)]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows]))
    assert [value for _, value in grid.steps("A", NOW, NOW + timedelta(hours=4))] == [0, 1, 2, 3, 4]


def test_ids_of_zones_are_texts(tmp_path: Path) -> None:
    rows = [f"{zone},2030-01-01T0{k}:00Z,{value}" for k in (0, 1) for zone, value in (("007", 7), ("7", 8))]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows]))
    assert grid.steps("007", NOW, NOW) == [(NOW, 7)]
    assert grid.steps("7", NOW, NOW) == [(NOW, 8)]


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
    own_name = trace(tmp_path, text, column=header.split(",")[4])
    assert own_name.steps("A", NOW, NOW) == [(NOW, 10)]
    direct = trace(tmp_path, text, column="direct_g_per_kwh")
    assert direct.steps("A", NOW, NOW) == [(NOW, 10)]
    about = direct.about()
    assert about["estimated"] == "1 of 3 rows"
    assert about["factor"] == "direct_g_per_kwh"
    assert len(about["sha256"]) == 64


def test_values_are_read_in_the_unit_that_their_column_states(tmp_path: Path) -> None:
    text = hours("0.22", "0.23", "5").replace(",g\n", ",kg_per_kwh\n")
    grid = trace(tmp_path, text, column="kg_per_kwh")
    assert [value for _, value in grid.steps("A", NOW, NOW + timedelta(hours=1))] == [220, 230]
    with pytest.raises(ConfigError, match="row 3: kg_per_kwh must be at most 2000 g/kWh"):
        grid.steps("A", NOW, NOW + timedelta(hours=2.5))


def test_a_file_of_files_has_its_header_again(tmp_path: Path) -> None:
    text = hours("10", "20") + "zone,utc,g\n" + "A,2030-01-01T02:00Z,30\nA,2030-01-01T03:00Z,-4\n"
    grid = trace(tmp_path, text)
    assert [value for _, value in grid.steps("A", NOW, NOW + timedelta(hours=2))] == [10, 20, 30]
    with pytest.raises(ConfigError, match="row 5: g must be a number >= 0"):
        grid.steps("A", NOW, NOW + timedelta(hours=3.5))


@pytest.mark.skipif(not HOURLY.exists(), reason="the real trace is not here")
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
