"""A grid that a file describes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.carbon.grids.trace_file import Series, read_trace, utc_text
from pipeline.domain.checks import ConfigError, require


@dataclass(frozen=True)
class Trace:
    """What a CSV or Parquet file says: rows of zone, utc and a value, each in force until the zone's next.

    The last row holds for the zone's usual step. A file may be compressed. Exports of Electricity Maps are
    read too, under either of their headers (`pipeline.carbon.grids.trace_file`).
    """

    path: str
    column: str = "lifecycle_g_per_kwh"
    """Of the values, in gCO2e/kWh; of an export lifecycle_g_per_kwh or direct_g_per_kwh. Which factors they
    were made with is part of every result."""
    wrap: bool = False
    """Begin again from the first row after the last, and so before the first: a choice, never a default."""

    def __post_init__(self) -> None:
        require(isinstance(self.wrap, bool), f"grid.wrap: must be true or false ({self.wrap!r})")
        self._zones()

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The rows from begin to end. Raises ConfigError for a zone or a time that the file does not have."""
        zones = self._zones()
        if zone not in zones:
            raise ConfigError(f"zone: {self.path} has no {zone!r} (it has {', '.join(sorted(zones)[:12])})")
        since, values, until = zones[zone].since, zones[zone].g_per_kwh, zones[zone].until
        asked = [at.astimezone(UTC).timestamp() for at in (begin, end)]
        if not self.wrap:
            covered = f"{utc_text(since[0])} to {utc_text(until)}"
            require(
                since[0] <= asked[0] and asked[1] <= until,
                f"zone: {self.path} has {zone} from {covered}, and the run is from {utc_text(asked[0])} to "
                f"{utc_text(asked[1])}; set start_utc within it, or grid.wrap=true",
            )
        period = until - since[0]
        first, last = (int((at - since[0]) // period) if self.wrap else 0 for at in asked)
        found = []
        for turn in range(first, last + 1):
            at = since + turn * period
            ends = np.append(at[1:], at[0] + period)
            found += [(at[k], values[k]) for k in np.flatnonzero((ends > asked[0]) & (at <= asked[1]))]
        return [(datetime.fromtimestamp(float(at), UTC), float(value)) for at, value in found]

    def about(self) -> dict[str, str]:
        """The file's name and hash, the factor, and how many of its rows the file calls estimated."""
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
        return read_trace(path, self.column, path.stat().st_mtime_ns)
