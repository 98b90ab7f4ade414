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
from pipeline.carbon.meters.series_column import series_column
from pipeline.domain.checks import LARGEST, ConfigError, listed, require, require_number, require_whole
from pipeline.host.data_file import MOST_BYTES
from pipeline.host.utc_table import (
    A_TIME,
    WITH_OFFSET,
    Floats,
    have_offset,
    numbers,
    read_table,
    require_columns,
    unread_times,
    utc_seconds,
)

LONGEST_GAP = 5
"""Most usual steps between two rows of a run: beyond, nobody knows what was drawn."""
NEAR = 5
"""Rows before and after a run that tell the usual step too."""


@dataclass(frozen=True)
class External:
    """A wall meter's CSV file with columns `utc` (with offset) and `power_w`, aligned by time.

    Only the rows of the run, and the ones next to it, must be right, and all of one meter. A row that is
    there twice counts once; a last line that is not finished is left out. Raises ConfigError naming a bad
    key.
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
        self._rows(self._table())
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
        table = self._table()
        every = self._rows(table)
        run = "the run from {:%H:%M:%S} to {:%H:%M:%S} UTC".format(
            *(datetime.fromtimestamp(at, UTC) for at in (begin_s, end_s))
        )
        unread = unread_times(utc_seconds(table["utc"]), table["utc"], table["power_w"])
        self._require_none(unread[(unread["since_s"] < end_s) & (unread["until_s"] > begin_s)], A_TIME)
        has_power = np.isfinite(every["power_w"]) & (every["power_w"] >= 0)
        rows = every[has_power | every["at_s"].between(begin_s, end_s, inclusive="neither")]
        first, last = _beside(rows, begin_s, end_s)
        if first < 0 or last >= len(rows):
            before, after = _beside(every, begin_s, end_s)
            self._require_powers(every.iloc[[before] if first < 0 <= before else []])
            self._require_powers(every.iloc[after : after + 1 if last >= len(rows) else after])
            raise ConfigError(
                f"meter.path: {self.path} does not cover {run}; set meter.wait_s so that the meter can write "
                "its last rows"
            )
        near = rows.iloc[max(0, first - NEAR) : last + 1 + NEAR]
        found = series_column(table.loc[near.index].drop(columns=["utc", "power_w"]))
        if found is not None:
            raise ConfigError(
                f"meter.path: {self.path} has rows of several meters in {run}: {found[0]} alternates between "
                f"{listed(found[1])}; keep the rows of one, or leave that column out if it names no meter"
            )
        near_s = np.diff(near["at_s"])
        usual_s = float(np.quantile(near_s[near_s > 0], 0.25, method="lower"))
        rows = rows.iloc[first : last + 1]
        require(len(rows) > 2, f"meter.path: {self.path} has no row within {run}")
        self._require_powers(rows)
        again = table.loc[rows.index].assign(utc=rows["at_s"], power_w=rows["power_w"]).duplicated()
        rows = rows[~again]
        self._require_none(
            rows[rows["at_s"].diff() == 0],
            "another row has that time, and other values; a file has the rows of one meter, and where these "
            "are less than a second apart, times with parts of a second",
        )
        at_s, power_w = rows["at_s"].to_numpy(), rows["power_w"].to_numpy()
        gaps_s = np.diff(at_s)
        longest = int(gaps_s.argmax())
        at = datetime.fromtimestamp(at_s[longest], UTC)
        require(
            gaps_s[longest] <= LONGEST_GAP * usual_s,
            f"meter.path: {self.path} has a gap of {gaps_s[longest]:.3g} s from {at:%H:%M:%S} UTC in {run}",
        )
        return at_s, power_w, usual_s

    def _require_powers(self, rows: pd.DataFrame) -> None:
        """Raise ConfigError naming the first row (columns: see `_rows`) whose power cannot be."""
        power_w = rows["power_w"]
        is_power = np.isfinite(power_w) & (power_w >= 0)
        self._require_none(rows[~is_power], "power_w must be a number >= 0, in W and without a unit")
        self._require_none(rows[power_w > LARGEST["_w"]], f"power_w must be at most {LARGEST['_w']:g}")

    def _require_none(self, bad: pd.DataFrame, expected: str) -> None:
        """Raise ConfigError naming the first of the bad rows, where there are any."""
        for row, text in zip(bad.index[:1].tolist(), bad["text"], strict=False):
            raise ConfigError(f"meter.path: {self.path}, row {row + 1}: {expected} ({text})")

    def _table(self) -> pd.DataFrame:
        """The file's table, with the columns utc and power_w."""
        path = Path(self.path).expanduser()
        table = read_table("meter", path, self.most_bytes, growing=True)
        require_columns("meter.path", path, table, ("utc", "power_w"))
        return table

    def _rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the file's table that have a time, in order of it.

        Columns: at_s (seconds since 1970), power_w (NaN for what is no number), text (what the file says).
        """
        at_s, text = utc_seconds(table["utc"]), table["utc"].astype(str) + ": " + table["power_w"].astype(str)
        rows = pd.DataFrame({"at_s": at_s, "power_w": numbers(table["power_w"]), "text": text})
        rows = rows[np.isfinite(at_s)]
        self._require_none(rows[~have_offset(table["utc"])[np.isfinite(at_s)]], f"utc {WITH_OFFSET}")
        return rows.sort_values("at_s", kind="stable")


def _beside(rows: pd.DataFrame, begin_s: float, end_s: float) -> tuple[int, int]:
    """Positions of the last row up to the begin and the first from the end on; -1 and len(rows): none."""
    at_s = rows["at_s"].to_numpy()
    return int(at_s.searchsorted(begin_s, side="right")) - 1, int(at_s.searchsorted(end_s))
