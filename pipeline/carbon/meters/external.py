"""A wall meter, read from the file that it writes. Shell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.carbon.meters.reading import Reading, require_zone
from pipeline.domain.checks import LARGEST, require, require_number, require_whole
from pipeline.host.data_file import MOST_BYTES
from pipeline.host.utc_table import (
    WITH_OFFSET,
    Floats,
    have_offset,
    numbers,
    read_table,
    require_columns,
    utc_seconds,
)

LONGEST_GAP = 5
"""Most usual steps between two rows of a run: beyond, nobody knows what was drawn."""
NEAR = 5
"""Rows before and after a run that tell the usual step too."""


@dataclass(frozen=True)
class External:
    """A wall meter's CSV file with columns `utc` (with offset) and `power_w`, aligned by time.

    Only the rows of the run, and the ones next to it, must be right; a last line that is not finished is left
    out. Raises ConfigError naming a bad key.
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
        """host_energy_j and host_carbon_g of the block.

        Raises ConfigError before the block for a file without these columns or with times of no offset, and
        after it for one that does not tell what was drawn.
        """
        self._rows()
        reading = Reading()
        begin = datetime.now(UTC)
        yield reading
        end = datetime.now(UTC)
        time.sleep(self.wait_s)
        begin_s, end_s = begin.timestamp(), end.timestamp()
        at_s, power_w, usual_s = self._during(begin_s, end_s)
        times = np.concatenate([[begin_s], at_s[(at_s > begin_s) & (at_s < end_s)], [end_s]])
        joules = float(np.trapezoid(np.interp(times, at_s, power_w), times))
        reading.fill(
            "external", "metered", self.zone, joules, end_s - begin_s, usual_s, samples=len(at_s) - 2
        )

    def _during(self, begin_s: float, end_s: float) -> tuple[Floats, Floats, float]:
        """Times and powers of the rows of a run and the two next to it, and the usual step between rows."""
        rows = self._rows()
        within = rows["at_s"].between(begin_s, end_s, inclusive="neither")
        rows = rows[within | (np.isfinite(rows["power_w"]) & (rows["power_w"] >= 0))]
        at_s = rows["at_s"].to_numpy()
        first = int(at_s.searchsorted(begin_s, side="right")) - 1
        last = int(at_s.searchsorted(end_s))
        run = "the run from {:%H:%M:%S} to {:%H:%M:%S} UTC".format(
            *(datetime.fromtimestamp(at, UTC) for at in (begin_s, end_s))
        )
        require(
            first >= 0 and last < len(at_s),
            f"meter.path: {self.path} does not cover {run}; set meter.wait_s so that the meter can write its "
            "last rows",
        )
        near_s = np.diff(at_s[max(0, first - NEAR) : last + 1 + NEAR])
        usual_s = float(np.quantile(near_s[near_s > 0], 0.25, method="lower"))
        rows = rows.iloc[first : last + 1]
        require(len(rows) > 2, f"meter.path: {self.path} has no row within {run}")
        at_s, power_w = rows["at_s"].to_numpy(), rows["power_w"].to_numpy()
        for good, expected in (
            (np.isfinite(power_w) & (power_w >= 0), "power_w must be a number >= 0"),
            (power_w <= LARGEST["_w"], f"power_w must be at most {LARGEST['_w']:g}"),
            (np.diff(at_s, prepend=-np.inf) > 0, "another row has that time"),
        ):
            bad = rows[~good]
            text = "" if bad.empty else f"row {bad.index[0] + 1}: {expected} ({bad['text'].iloc[0]})"
            require(bad.empty, f"meter.path: {self.path}, {text}")
        gaps_s = np.diff(at_s)
        longest = int(gaps_s.argmax())
        at = datetime.fromtimestamp(at_s[longest], UTC)
        require(
            gaps_s[longest] <= LONGEST_GAP * usual_s,
            f"meter.path: {self.path} has a gap of {gaps_s[longest]:.3g} s from {at:%H:%M:%S} UTC in {run}",
        )
        return at_s, power_w, usual_s

    def _rows(self) -> pd.DataFrame:
        """The file's rows that have a time, in order of it.

        Columns: at_s (seconds since 1970), power_w (NaN for what is no number), text (what the file says).
        """
        path = Path(self.path).expanduser()
        table = read_table("meter", path, self.most_bytes, growing=True)
        require_columns("meter.path", path, table, ("utc", "power_w"))
        at_s, text = utc_seconds(table["utc"]), table["utc"].astype(str) + ": " + table["power_w"].astype(str)
        unplaced = np.flatnonzero(np.isfinite(at_s) & ~have_offset(table["utc"]))
        shown = "".join(f"row {k + 1}: utc {WITH_OFFSET} ({text.iloc[k]})" for k in unplaced[:1])
        require(not len(unplaced), f"meter.path: {path}, {shown}")
        rows = pd.DataFrame({"at_s": at_s, "power_w": numbers(table["power_w"]), "text": text})
        return rows[np.isfinite(at_s)].sort_values("at_s", kind="stable")
