"""A trace file, and a fixed time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.carbon.grids.trace import Trace

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def trace(path: Path, text: str, **options: Any) -> Trace:
    (path / "trace.csv").write_text(text)
    return Trace(str(path / "trace.csv"), **{"column": "g"} | options)
