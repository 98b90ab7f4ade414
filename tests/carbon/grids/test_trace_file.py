"""Files of every format give the same ledger; a bad file is one line."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
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
        ("zone,utc,g\nA,soon,1\nA,2030-01-02,1\n", "zone A, row 1: utc must be a time"),
        (
            "zone,utc,g\nA,2030-01-01T00Z,1\nA,2030-01-02T00:00,1\n",
            "zone A, row 2: utc must state its offset, as in .*2030-01-02T00:00: 1",
        ),
        ("zone,utc,g,utc\nA,2030-01-01T00Z,1,x\n", "has utc twice"),
        ("zone,utc,g\nA,2030-01-01T00Z,true\nA,2030-01-02T00Z,true\n", "'g' contains booleans, not numbers"),
        (hours("1", "-1"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "x"), "zone A, row 2: g must be a number >= 0"),
        (hours("1", "2001"), "zone A, row 2: g must be g/kWh, and no grid emits over 2000"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\nA,2030-01-01T00Z,1\n", "zone A: rows must be in order of time"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\nA,2030-01-02T00Z,1\n", "each once .2030-01-02T00:00 comes after"),
        ("zone,utc,g\nA,2030-01-02T00Z,1\n", "needs more than one row"),
        (
            "zone,utc,g\nA,2030-01-01T00:00:00Z,1\nA,2030-01-01T00:00:00.000001Z,1\n",
            r"grid\.path: .*trace\.csv, zone A: rows must be at least 1 s apart \(2030-01-01T00:00 and the "
            r"next are .*e-07 s apart\)$",
        ),
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
