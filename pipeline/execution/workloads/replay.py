"""The requests that a CSV file lists. Shell."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.checks import LARGEST, ConfigError, first_line, require, require_whole
from pipeline.domain.requests import RequestClass, Requests
from pipeline.execution.workloads.workload import BLOCK
from pipeline.host.data_file import MOST_BYTES, csv_content
from pipeline.host.utc_table import WITH_OFFSET, csv_table, have_offset, utc_seconds

Floats = npt.NDArray[np.float64]

MOST_SINCE_1970_S = 1e10
"""The largest timestamp, in the year 2286: a float of that size still tells two microseconds apart."""
EPOCH_S = 1e9
"""Seconds from which on a timestamp counts from 1970, and not from a log's own begin: the year 2001."""
REPLAY_COLUMNS = ("timestamp", "model", "deadline_s", "tenant")


@dataclass(frozen=True)
class Replay:
    """The requests of a CSV file with the column timestamp and, optionally, model, deadline_s and tenant.

    timestamp is an ISO time with its offset, or seconds. Each distinct (model, deadline_s, tenant) is
    a class. The first request arrives at the run's start. Raises ConfigError for a file that is not valid,
    naming the line.
    """

    path: str
    most_bytes: int = MOST_BYTES
    """Largest size of the file, unpacked."""
    count: ClassVar[None] = None
    concurrency: ClassVar[None] = None

    def __post_init__(self) -> None:
        require_whole("workload", "most_bytes", self.most_bytes)
        self._read()

    @property
    def classes(self) -> tuple[RequestClass, ...]:
        """The classes in the order in which they first appear."""
        return self._read()[1]

    @property
    def first_utc(self) -> datetime | None:
        """When the first request was; None: the log counts its seconds from a time that it does not state."""
        first_s = self._read()[2]
        return None if first_s < EPOCH_S else datetime.fromtimestamp(first_s, UTC)

    @property
    def horizon_s(self) -> float:
        """Seconds from the first request to the last."""
        return float(self._read()[0].arrival_s[-1])

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The file's requests in blocks of at most BLOCK."""
        rows = self._read()[0]
        for begin in range(0, len(rows), BLOCK):
            part = slice(begin, begin + BLOCK)
            yield Requests(rows.arrival_s[part], rows.kind[part])

    def _read(self) -> tuple[Requests, tuple[RequestClass, ...], float]:
        require(isinstance(self.path, str), f"workload.path: must be a file's path (it is {self.path!r})")
        path = Path(self.path).expanduser()
        require(path.is_file(), f"workload.path: no such file ({path})")
        return _read_requests(path, path.stat().st_mtime_ns, self.most_bytes)


@functools.lru_cache(maxsize=4)
def _read_requests(
    path: Path, modified_ns: int, most_bytes: int
) -> tuple[Requests, tuple[RequestClass, ...], float]:
    """The requests of a file, their classes in the order of first appearance, and the first timestamp."""
    table = _read_table(path, most_bytes)
    numbers = pd.to_numeric(table["timestamp"], errors="coerce")
    if numbers.notna().any():
        at_s = np.asarray(numbers, dtype=float)
    else:
        at_s = utc_seconds(table["timestamp"])
        placed = have_offset(table["timestamp"]) | ~np.isfinite(at_s)
        _require_rows(path, placed, f"timestamp {WITH_OFFSET}")
    _require_rows(path, np.isfinite(at_s), "timestamp must be an ISO time or seconds")
    within = np.abs(at_s) <= MOST_SINCE_1970_S
    expected = f"timestamp must be seconds, at most {MOST_SINCE_1970_S:g}, not parts of a second"
    _require_rows(path, within, expected)
    _require_rows(path, np.diff(at_s, prepend=at_s[0]) >= 0, "timestamp must not be before the row above")
    within = at_s - at_s[0] <= LARGEST["_s"]
    _require_rows(path, within, f"timestamp must be at most {LARGEST['_s']:g} s after the first")
    about = table.reindex(columns=list(REPLAY_COLUMNS[1:])).replace("", None)
    deadline_s = pd.to_numeric(about["deadline_s"], errors="coerce")
    good = about["deadline_s"].isna() | ((deadline_s > 0) & (deadline_s <= LARGEST["_s"]))
    expected = f"deadline_s must be a number > 0 and at most {LARGEST['_s']:g}, or empty"
    _require_rows(path, good.to_numpy(), expected)
    about = about.assign(deadline_s=deadline_s)
    kind, distinct = pd.factorize(pd.MultiIndex.from_frame(about.astype(object).where(about.notna(), None)))
    first = np.unique(kind, return_index=True)[1]
    lines = zip(first + 2, distinct, strict=True)
    classes = tuple(_request_class(line, *values) for line, values in lines)
    return Requests(at_s - at_s[0], kind.astype(np.int64)), classes, float(at_s[0])


def _read_table(path: Path, most_bytes: int) -> pd.DataFrame:
    """The file's rows, unchecked: the column timestamp and any of the other REPLAY_COLUMNS."""
    try:
        table = csv_table(csv_content(path, most_bytes))
    except Exception as error:  # each format has its own for a broken file
        reason = f"{first_line(error)}; workload.most_bytes: {most_bytes}"
        raise ConfigError(f"workload.path: {path} is not a CSV file ({reason})") from error
    unknown = [column for column in table.columns if column not in REPLAY_COLUMNS]
    require(
        "timestamp" in table and not unknown and len(table) > 0,
        f"workload.path: {path} must have rows under timestamp and, optionally, "
        f"{', '.join(REPLAY_COLUMNS[1:])} (it has {len(table)} under {', '.join(map(str, table.columns))})",
    )
    return table


def _request_class(line: int, model: Any, deadline_s: Any, tenant: Any) -> RequestClass:
    """The class of a line, whose empty fields are NaN or None."""
    return RequestClass(
        name=" ".join([f"line {line}", *(str(each) for each in (tenant, model) if pd.notna(each))]),
        tenant="default" if pd.isna(tenant) else str(tenant),
        model=None if pd.isna(model) else str(model),
        deadline_s=None if pd.isna(deadline_s) else float(deadline_s),
    )


def _require_rows(path: Path, good: npt.NDArray[np.bool_], message: str) -> None:
    """Raise ConfigError naming the file's first line that is not good; `good` is (rows,)."""
    bad = np.flatnonzero(~good)
    require(not len(bad), f"workload.path: {path}, line {bad[0] + 2 if len(bad) else 0}: {message}")
