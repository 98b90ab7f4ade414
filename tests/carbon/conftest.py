"""A trace file, a real trace where there is one, and a fixed time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.carbon.grids.trace import Trace
from tests.conftest import ROOT

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOURLY = ROOT.parent / "shared" / "data" / "carbon" / "hourly_2020_2021.csv.gz"
ROWS = """zone,utc,g
A,2030-01-01T00:00:00Z,10
B,2030-01-01 00:00Z,5
A,2030-01-01T01:00:00Z,20
A,2030-01-01T02:00:00Z,30
B,2030-01-01T01:30+01:00,6
"""


def trace(path: Path, text: str, **options: Any) -> Trace:
    (path / "trace.csv").write_text(text)
    return Trace(str(path / "trace.csv"), **{"column": "g"} | options)
