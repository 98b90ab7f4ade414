"""A wall meter, read from the file that it writes. Shell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.carbon.meters.reading import Reading, require_zone
from pipeline.carbon.utc_table import Floats, numbers, read_table, require_columns, utc_seconds
from pipeline.domain.checks import require, require_number, require_whole
from pipeline.host.data_file import MOST_BYTES


@dataclass(frozen=True)
class External:
    """A wall meter's CSV file with columns `utc` (with offset) and `power_w`, aligned by time.

    Raises ConfigError naming a bad key.
    """

    path: str
    zone: str = "WORLD"
    """The grid zone of this host. WORLD, the world's average, is an assumption."""
    wait_s: float = 0.0
    """Seconds to wait after the run, for the meter's last rows."""
    most_bytes: int = MOST_BYTES
    """Largest size of the file, unpacked."""

    def __post_init__(self) -> None:
        require_number("meter", "wait_s", self.wait_s, least=0)
        require_whole("meter", "most_bytes", self.most_bytes)
        require_zone(self.zone)
        require(Path(self.path).expanduser().is_file(), f"meter.path: no such file ({self.path})")

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block. Raises ConfigError unless the file covers it."""
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

    def _rows(self) -> tuple[Floats, Floats]:
        """Times in seconds since 1970 and power in watts, both (rows,)."""
        path = Path(self.path).expanduser()
        table = read_table("meter", path, self.most_bytes)
        require_columns("meter.path", path, table, ("utc", "power_w"))
        at_s = utc_seconds("meter.path", path, table["utc"])
        power_w = numbers(table["power_w"])
        good = np.isfinite(at_s) & np.isfinite(power_w) & (power_w >= 0)
        require(
            len(at_s) > 1 and bool(good.all()) and bool((np.diff(at_s) > 0).all()),
            f"meter.path: {path} needs rows with rising utc and power_w >= 0",
        )
        row = int(power_w.argmax())
        require_number(f"meter.path: {path}, row {row + 1}", "power_w", float(power_w[row]), least=0)
        return at_s, power_w
