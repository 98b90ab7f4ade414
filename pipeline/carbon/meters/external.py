"""What a wall meter wrote, as a meter. Shell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.carbon.meters.reading import Reading, require_zone
from pipeline.domain.checks import ConfigError, require, require_number


@dataclass(frozen=True)
class External:
    """What a wall meter wrote: a CSV of `utc` (with its offset) and `power_w`, aligned by time."""

    path: str
    zone: str = "WORLD"
    """Where this host draws its power. WORLD, the world's average, is an assumption until you say."""
    wait_s: float = 0.0
    """For so long after the run its last rows are waited for."""

    def __post_init__(self) -> None:
        require_number("meter", "wait_s", self.wait_s, least=0)
        require_zone(self.zone)
        require(Path(self.path).expanduser().is_file(), f"meter.path: no such file ({self.path})")

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; ConfigError where the file does not cover it."""
        reading = Reading()
        begin = datetime.now(UTC)
        yield reading
        end = datetime.now(UTC)
        time.sleep(self.wait_s)
        at_s, power_w = self._rows()
        begin_s, end_s = begin.timestamp(), end.timestamp()
        require(
            at_s[0] <= begin_s and at_s[-1] >= end_s,
            f"meter.path: {self.path} does not cover the run from {begin:%H:%M:%S} to {end:%H:%M:%S} UTC; "
            "set meter.wait_s so that the meter can write its last rows",
        )
        inside = (at_s > begin_s) & (at_s < end_s)
        times = np.concatenate([[begin_s], at_s[inside], [end_s]])
        joules = float(np.trapezoid(np.interp(times, at_s, power_w), times))
        interval_s = float(np.median(np.diff(at_s)))
        seconds, samples = end_s - begin_s, int(inside.sum())
        reading.fill("external", "metered", self.zone, joules, seconds, interval_s, samples=samples)

    def _rows(self) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
        path = Path(self.path).expanduser()
        try:
            table = pd.read_csv(path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"meter.path: cannot read {path} ({str(error).splitlines()[0]})") from error
        for name in ("utc", "power_w"):
            require(
                name in table,
                f"meter.path: {path} has no column {name!r} (it has {', '.join(table.columns)})",
            )
        at = pd.to_datetime(table["utc"], utc=True, errors="coerce", format="ISO8601")
        at_s = np.asarray((at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=float)
        power_w = np.asarray(pd.to_numeric(table["power_w"], errors="coerce"), dtype=float)
        good = np.isfinite(at_s) & np.isfinite(power_w) & (power_w >= 0)
        require(
            len(at_s) > 1 and bool(good.all()) and bool((np.diff(at_s) > 0).all()),
            f"meter.path: {path} needs rows of utc, rising, and power_w >= 0",
        )
        return at_s, power_w
