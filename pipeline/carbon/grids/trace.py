"""A grid whose intensity over time comes from a file. Shell."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.trace_file import Series, read_trace, utc_text
from pipeline.domain.checks import ConfigError, require, require_whole
from pipeline.host.data_file import MOST_BYTES

MOST_STEPS = 1_000_000
"""Most rows of a zone within a run, where they repeat: ten years of five minutes."""


@dataclass(frozen=True)
class Trace:
    """A CSV or Parquet file with columns zone, utc and `column`. A value holds until the zone's next one.

    The last value of a zone, and one before a gap, holds for the usual step of the rows near it. The file may
    be compressed. It may be an export of Electricity Maps, with the headers from before or since 2024
    (`pipeline.carbon.grids.trace_file`). Raises ConfigError for a file without these columns.
    """

    path: str
    column: str = "lifecycle_g_per_kwh"
    """The column of the values, in gCO2e/kWh or in the unit that its name states, as kg_per_mwh; in an export
    lifecycle_g_per_kwh or direct_g_per_kwh. Its name is stored with every result as the emission factors."""
    wrap: bool = False
    """Whether the rows repeat, before the first and after the last."""
    most_bytes: int = MOST_BYTES
    """Largest size of the file, unpacked."""

    def __post_init__(self) -> None:
        require_whole("grid", "most_bytes", self.most_bytes)
        require(isinstance(self.wrap, bool), f"grid.wrap: must be true or false ({self.wrap!r})")
        self._zones()

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The rows from begin to end; what is wrong with others does not matter.

        Raises ConfigError for a zone that the file lacks, a row that cannot be used, a time without a row,
        and more than MOST_STEPS repeated rows; NotCoveredError where rows before that are fine.
        """
        zones = self._zones()
        if zone not in zones:
            raise ConfigError(f"zone: {self.path} has no {zone!r} (it has {', '.join(sorted(zones)[:12])})")
        series, owner = zones[zone], f"zone: {self.path}, zone {zone}"
        several = len(series.since) > 1 and series.since[-1] > series.since[0]
        unread = f"; {series.unread}" if series.unread else ""
        require(several, f"{owner}: needs rows of more than one time{unread}")
        require(not series.unplaced, f"{owner}, {series.unplaced}")
        begin_s, end_s = (at.astimezone(UTC).timestamp() for at in (begin, end))
        found: list[tuple[datetime, float]] = []
        reached_s, why = begin_s, ""
        for row, since_s, until_s in self._rows(owner, series, begin_s, end_s):
            if found and reached_s > end_s:
                break
            why = series.faults.get(row, "")
            if since_s > reached_s:
                why = f"a gap from {utc_text(reached_s)} to {utc_text(since_s)}"
            if why:
                break
            found.append((datetime.fromtimestamp(since_s, UTC), float(series.g_per_kwh[row])))
            reached_s = until_s
        if found and reached_s >= end_s:
            return found
        needed = f"and the run needs {utc_text(begin_s)} to {utc_text(end_s)}"
        first_s, last_s = float(series.since[0]), float(series.until[-1])
        if why and (found or self.wrap or begin_s >= first_s):
            message = f"{owner}, {why}, {needed}; set another start_utc"
        else:
            covered = f"has {utc_text(first_s)} to {utc_text(last_s)}"
            message = f"{owner}: {covered}, {needed}; set start_utc within it, or grid.wrap=true{unread}"
        if found:
            raise NotCoveredError(message, datetime.fromtimestamp(reached_s, UTC))
        raise ConfigError(message)

    def _rows(
        self, owner: str, series: Series, begin_s: float, end_s: float
    ) -> Iterator[tuple[int, float, float]]:
        """Index, begin and end of each row that ends after `begin_s`; of a file that repeats, without end."""
        period_s = float(series.until[-1] - series.since[0])
        turns: Iterable[int] = (0,)
        if self.wrap:
            num_steps = (end_s - begin_s) / period_s * len(series.since)
            repeated = f"{owner}: grid.wrap would repeat {num_steps:.3g} rows within the run"
            require(num_steps <= MOST_STEPS, f"{repeated} (at most {MOST_STEPS})")
            turns = itertools.count(int((begin_s - series.since[0]) // period_s))
        for turn in turns:
            since, until = series.since + turn * period_s, series.until + turn * period_s
            for row in np.flatnonzero(until > begin_s).tolist():
                yield row, float(since[row]), float(until[row])

    def about(self) -> dict[str, str]:
        """The file's name and SHA-256, the factor, and the number of rows that it marks as estimated."""
        path, zones = Path(self.path).expanduser(), self._zones()
        estimated = sum(zone.num_estimated for zone in zones.values())
        return {
            "source": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "factor": self.column,
            "estimated": f"{estimated} of {sum(len(zone.since) for zone in zones.values())} rows",
        }

    def _zones(self) -> Mapping[str, Series]:
        path = Path(self.path).expanduser()
        require(path.is_file(), f"grid.path: no such file ({path})")
        return read_trace(path, self.column, path.stat().st_mtime_ns, self.most_bytes)
