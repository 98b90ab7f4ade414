"""Files of carbon intensity over time: our own format, and exports of Electricity Maps. Shell."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.carbon.grid import MAX_G_PER_KWH
from pipeline.carbon.utc_table import have_offset, numbers, read_table, require_columns, utc_seconds
from pipeline.domain.checks import ConfigError, require

Floats = npt.NDArray[np.float64]

EXPORTS = {
    "Datetime (UTC)": "utc",
    "Zone Id": "zone",
    "Zone id": "zone",
    "Carbon Intensity gCO₂eq/kWh (direct)": "direct_g_per_kwh",
    "Carbon intensity gCO₂eq/kWh (direct)": "direct_g_per_kwh",
    "Carbon Intensity gCO₂eq/kWh (LCA)": "lifecycle_g_per_kwh",
    "Carbon intensity gCO₂eq/kWh (Life cycle)": "lifecycle_g_per_kwh",
    "Data Estimated": "estimated",
    "Data estimated": "estimated",
}
"""Headers of Electricity Maps' exports, before and since 2024, and our names for these columns."""
LEAST_STEP_S = 1.0
"""Least step of a trace: grids publish values of five minutes or more."""


@dataclass(frozen=True, eq=False)
class Series:
    """The values of one zone."""

    since: Floats
    """(rows,): begin of each value, seconds since 1970."""
    g_per_kwh: Floats
    """(rows,): carbon intensity from that time on."""
    until: float
    """End of the last value, seconds since 1970."""
    num_estimated: int
    """Rows that the file marks as estimated."""


@functools.lru_cache(maxsize=4)
def read_trace(path: Path, column: str, modified_ns: int, most_bytes: int) -> Mapping[str, Series]:
    """The values of each zone of a file with the columns zone, utc and `column`, or an export.

    The rows of a zone must be in order of time, each once, at even steps. Times must state their offset (Z or
    +01:00), except in an export, whose header states UTC. Raises ConfigError naming file, zone and row.
    modified_ns: the file's modification time, so that a changed file is read again. most_bytes: see Trace.
    """
    table = read_table("grid", path, most_bytes)
    exported = "Datetime (UTC)" in table
    table = table.rename(columns=EXPORTS).reset_index(drop=True)
    _require_columns(path, table, column)
    estimated = np.zeros(len(table), dtype=bool)
    if "estimated" in table:
        estimated = table["estimated"].astype(str).str.lower().eq("true").to_numpy()
    rows = pd.DataFrame(
        {
            "utc": table["utc"],
            "value": table[column],
            "since": utc_seconds("grid.path", path, table["utc"]),
            "g_per_kwh": numbers(table[column]),
            "has_offset": np.full(len(table), exported) | have_offset(table["utc"]),
            "estimated": estimated,
        }
    )
    zones = table["zone"].astype(str).to_numpy()
    return {
        str(zone): _series(f"grid.path: {path}, zone {zone}", column, of_zone)
        for zone, of_zone in rows.groupby(zones, sort=False)
    }


def _require_columns(path: Path, table: pd.DataFrame, column: str) -> None:
    twice = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    twice += [name for name in ("zone", "utc", column) if f"{name}.1" in table]  # as pandas renames them
    require(not twice, f"grid.path: {path} has {', '.join(twice)} twice")
    require_columns("grid.path", path, table, ("zone", "utc"))
    require_columns("grid.column", path, table, (column,))
    require(
        not pd.api.types.is_bool_dtype(table[column]),
        f"grid.column: {column!r} contains booleans, not numbers",
    )


def _series(where: str, column: str, rows: pd.DataFrame) -> Series:
    """A zone's values from its rows, checked (columns: see `read_trace`)."""
    since, g_per_kwh = rows["since"].to_numpy(), rows["g_per_kwh"].to_numpy()
    for good, expected in (
        (np.isfinite(since), "utc must be a time"),
        (rows["has_offset"].to_numpy(), "utc must state its offset, as in 2021-06-01T00:00Z"),
        (np.isfinite(g_per_kwh) & (g_per_kwh >= 0), f"{column} must be a number >= 0"),
        (g_per_kwh <= MAX_G_PER_KWH, f"{column} must be g/kWh, and no grid emits over {MAX_G_PER_KWH:g}"),
    ):
        bad = np.flatnonzero(~good)
        if len(bad):
            utc, value = rows["utc"].iloc[bad[0]], rows["value"].iloc[bad[0]]
            raise ConfigError(f"{where}, row {rows.index[bad[0]] + 1}: {expected} ({utc}: {value})")
    until = float(since[-1] + _usual_step_s(where, since))
    return Series(since, g_per_kwh, until, int(rows["estimated"].sum()))


def _usual_step_s(where: str, since: Floats) -> float:
    """The median step in seconds. Raises ConfigError unless the times rise in about equal steps >= 1 s."""
    gaps = np.diff(since)
    wrong = np.flatnonzero(gaps <= 0)
    if len(wrong):
        before, after = (utc_text(since[wrong[0] + k]) for k in (0, 1))
        raise ConfigError(f"{where}: rows must be in order of time, each once ({after} comes after {before})")
    require(len(since) > 1, f"{where}: needs more than one row")
    step_s = float(np.median(gaps))
    for uneven, message in (
        (gaps > step_s * 1.5, "a gap from {} to {}"),
        (gaps < step_s * 0.5, "rows overlap, {} and {}"),
    ):
        if uneven.any():
            first = int(uneven.argmax())
            times = message.format(utc_text(since[first]), utc_text(since[first + 1]))
            raise ConfigError(f"{where}: {times} (the usual step is {step_s:g} s)")
    times = f"{utc_text(since[0])} and the next are {step_s:g} s apart"
    require(step_s >= LEAST_STEP_S, f"{where}: rows must be at least {LEAST_STEP_S:g} s apart ({times})")
    return step_s


def utc_text(seconds: float) -> str:
    """Seconds since 1970 as in 2030-01-15T09:48."""
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M")
