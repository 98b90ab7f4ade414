"""Files of carbon intensity over time: our rows of zone, utc and values, and Electricity Maps' exports."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.checks import ConfigError, require

Floats = npt.NDArray[np.float64]

MAX_G_PER_KWH = 2000.0
"""No grid emits more; what does is in another unit, such as lb/MWh or kg/MWh."""
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
"""Headers of Electricity Maps' exports, before and since 2024, and what we call these columns."""


@dataclass(frozen=True, eq=False)
class Series:
    """What a file says of one zone."""

    since: Floats
    """When each value begins, seconds since 1970."""
    g_per_kwh: Floats
    until: float
    """When the last one ends."""
    num_estimated: int
    """Rows that the file says were estimated."""


@functools.lru_cache(maxsize=4)
def read_trace(path: Path, column: str, modified_ns: int) -> Mapping[str, Series]:
    """By zone what the file says. Raises ConfigError naming file, zone and row.

    Rows stand in order of time, each once, at even steps. Times of our own rows must say their offset (Z or
    +01:00); those of an export are in UTC, as its header says.
    """
    try:
        parquet = path.suffix.lower() == ".parquet"
        # Namibia's zone is NA.
        table = (
            pd.read_parquet(path) if parquet else pd.read_csv(path, keep_default_na=False, low_memory=False)
        )
    except Exception as error:  # of a compressed file each library has its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"grid.path: cannot read {path} ({reason})") from error
    exported = "Datetime (UTC)" in table
    table = table.rename(columns=EXPORTS)
    twice = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    twice += [name for name in ("zone", "utc", column) if f"{name}.1" in table]  # as pandas renames them
    require(not twice, f"grid.path: {path} has {', '.join(twice)} twice")
    for name in ("zone", "utc", column):
        key = "grid.column" if name == column else "grid.path"
        require(name in table, f"{key}: {path} has no column {name!r} (it has {', '.join(table.columns)})")
    require(
        not pd.api.types.is_bool_dtype(table[column]), f"grid.column: {column!r} is true or false, no number"
    )
    try:
        at = pd.to_datetime(table["utc"], utc=True, errors="coerce", format="ISO8601")
        seconds = np.asarray((at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=float)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"grid.path: {path} has times that cannot be reckoned with ({error})") from error
    with_offset = np.full(len(table), exported) | _says_offset(table["utc"])
    values = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=float)
    estimated = np.zeros(len(table), dtype=bool)
    if "estimated" in table:
        estimated = table["estimated"].astype(str).str.lower().eq("true").to_numpy()
    zones = {}
    for zone, rows in table.groupby(table["zone"].astype(str), sort=False).indices.items():
        since, own = seconds[rows], values[rows]
        where = f"grid.path: {path}, zone {zone}"
        for good, what in (
            (np.isfinite(since), "utc must be a time"),
            (with_offset[rows], "utc must say its offset, as in 2021-06-01T00:00Z"),
            (np.isfinite(own) & (own >= 0), f"{column} must be a number >= 0"),
            (own <= MAX_G_PER_KWH, f"{column} must be g/kWh, and no grid emits over {MAX_G_PER_KWH:g}"),
        ):
            bad = np.flatnonzero(~good)
            what = (
                f"{what} ({table['utc'].iloc[rows[bad[0]]]}: {table[column].iloc[rows[bad[0]]]})"
                if len(bad)
                else ""
            )
            require(not len(bad), f"{where}, row {int(rows[bad[0]]) + 1 if len(bad) else 0}: {what}")
        gaps = np.diff(since)
        wrong = np.flatnonzero(gaps <= 0)
        if len(wrong):
            pair = [utc_text(since[wrong[0] + k]) for k in (1, 0)]
            raise ConfigError(
                f"{where}: needs rows in order of time, each once ({pair[0]} comes after {pair[1]})"
            )
        require(len(since) > 1, f"{where}: needs more than one row")
        step = float(np.median(gaps))
        wide = np.flatnonzero(gaps > step * 1.5)
        if len(wide):
            ends = (utc_text(since[wide[0] + k]) for k in (0, 1))
            raise ConfigError(f"{where}: a gap from {' to '.join(ends)} (the usual step is {step:g} s)")
        narrow = np.flatnonzero(gaps < step * 0.5)
        if len(narrow):
            ends = (utc_text(since[narrow[0] + k]) for k in (0, 1))
            raise ConfigError(f"{where}: rows overlap, {' and '.join(ends)} (the usual step is {step:g} s)")
        zones[str(zone)] = Series(since, own, float(since[-1] + step), int(estimated[rows].sum()))
    return zones


def _says_offset(times: pd.Series) -> npt.NDArray[np.bool_]:
    """Which times say how far they are from UTC."""
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        return np.ones(len(times), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(times.dtype):
        return np.zeros(len(times), dtype=bool)
    return np.asarray(times.astype(str).str.contains(r"[Tt ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$"), dtype=bool)


def utc_text(seconds: float) -> str:
    """A time for people."""
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M")
