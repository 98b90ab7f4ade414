"""A grid whose intensity over time comes from a file. Shell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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

    The last value of a zone holds for its median step. The file may be compressed. It may be an export of
    Electricity Maps, with the headers from before or since 2024 (`pipeline.carbon.grids.trace_file`). Raises
    ConfigError for a file that is not valid.
    """

    path: str
    column: str = "lifecycle_g_per_kwh"
    """The column of the values, in gCO2e/kWh; in an export lifecycle_g_per_kwh or direct_g_per_kwh. Its name
    is stored with every result as the emission factors."""
    wrap: bool = False
    """Whether the rows repeat, before the first and after the last."""
    most_bytes: int = MOST_BYTES
    """Largest size of the file, unpacked."""

    def __post_init__(self) -> None:
        require_whole("grid", "most_bytes", self.most_bytes)
        require(isinstance(self.wrap, bool), f"grid.wrap: must be true or false ({self.wrap!r})")
        self._zones()

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The rows from begin to end.

        Raises ConfigError for a zone or a time outside the file, and for more than MOST_STEPS repeated rows.
        """
        zones = self._zones()
        if zone not in zones:
            raise ConfigError(f"zone: {self.path} has no {zone!r} (it has {', '.join(sorted(zones)[:12])})")
        since, values, until = zones[zone].since, zones[zone].g_per_kwh, zones[zone].until
        window = [at.astimezone(UTC).timestamp() for at in (begin, end)]
        begins_within = since[0] <= window[0] < until
        if not self.wrap and not (begins_within and window[1] <= until):
            message = (
                f"zone: {self.path} has {zone} from {utc_text(since[0])} to {utc_text(until)}, and the run "
                f"needs {utc_text(window[0])} to {utc_text(window[1])}; set start_utc within it, or "
                "grid.wrap=true"
            )
            if begins_within:
                raise NotCoveredError(message, datetime.fromtimestamp(until, UTC))
            raise ConfigError(message)
        period = until - since[0]
        num_steps = (window[1] - window[0]) / period * len(since)
        require(
            not self.wrap or num_steps <= MOST_STEPS,
            f"grid.wrap: {self.path} would repeat {num_steps:.3g} rows of {zone} within the run (at most "
            f"{MOST_STEPS})",
        )
        first, last = (int((at - since[0]) // period) if self.wrap else 0 for at in window)
        found = []
        for turn in range(first, last + 1):
            at = since + turn * period
            ends = np.append(at[1:], at[0] + period)
            found += [(at[k], values[k]) for k in np.flatnonzero((ends > window[0]) & (at <= window[1]))]
        return [(datetime.fromtimestamp(float(at), UTC), float(value)) for at, value in found]

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
