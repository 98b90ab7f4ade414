"""Files of carbon intensity over time: our own format, and exports of Electricity Maps. Shell."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.carbon.grid import MAX_G_PER_KWH
from pipeline.carbon.grids.column_unit import g_per_kwh_of_one
from pipeline.domain.checks import require
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
NEIGHBOURS = 5
"""Steps on either side of a row that tell the usual one there: a file may go from hours to quarters."""
LEAST_STEP_S = 1.0
"""Least step of a trace: grids publish values of five minutes or more."""


@dataclass(frozen=True, eq=False)
class Series:
    """The values of one zone, in order of time."""

    since: Floats
    """(rows,): begin of each value, seconds since 1970."""
    until: Floats
    """(rows,): its end: the next row, or where one is missing the usual step."""
    g_per_kwh: Floats
    """(rows,): carbon intensity in that time."""
    faults: Mapping[int, str]
    """Why a value cannot be used, by its index."""
    unplaced: str
    """The first row whose time states no offset, so that nobody knows when it is; empty: none."""
    num_estimated: int
    """Rows that the file marks as estimated."""
    unread: str
    """The first row whose time cannot be read; empty: none."""


@functools.lru_cache(maxsize=4)
def read_trace(path: Path, column: str, modified_ns: int, most_bytes: int) -> Mapping[str, Series]:
    """The values of each zone of a file with the columns zone, utc and `column`, or an export.

    Rows that say nothing are left out. Times must state their offset (Z or +01:00), except in an export,
    whose header states UTC. Values are converted from the unit that the column's name states. What is wrong
    with a row is kept as its fault, as a run may not need it; of a row whose time cannot be read, as the
    fault of the row that holds until then. Raises ConfigError for a file without such columns. modified_ns:
    the file's modification time, so that a changed file is read again. most_bytes: see Trace.
    """
    to_g_per_kwh = g_per_kwh_of_one(column)
    column = EXPORTS.get(column, column)
    table = read_table("grid", path, most_bytes)
    exported = "Datetime (UTC)" in table
    table = table.rename(columns=EXPORTS)
    _require_columns(path, table, column)
    estimated = np.zeros(len(table), dtype=bool)
    if "estimated" in table:
        estimated = table["estimated"].astype(str).str.lower().eq("true").to_numpy()
    rows = pd.DataFrame(
        {
            "utc": table["utc"],
            "value": table[column],
            "since": utc_seconds(table["utc"]),
            "g_per_kwh": to_g_per_kwh * numbers(table[column]),
            "has_offset": np.full(len(table), exported) | have_offset(table["utc"]),
            "estimated": estimated,
        }
    )
    zones = table["zone"].astype(str).to_numpy()
    return {str(zone): _series(column, of_zone) for zone, of_zone in rows.groupby(zones, sort=False)}


def _require_columns(path: Path, table: pd.DataFrame, column: str) -> None:
    twice = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    twice += [name for name in ("zone", "utc", column) if f"{name}.1" in table]  # as pandas renames them
    require(not twice, f"grid.path: {path} has {', '.join(twice)} twice")
    require_columns("grid.path", path, table, ("zone", "utc"))
    require_columns("grid.column", path, table, (column,))
    is_number = not pd.api.types.is_bool_dtype(table[column]) and bool(
        np.isfinite(numbers(table[column])).any()
    )
    require(is_number, f"grid.column: {path} has no number in the column {column!r}")


def _series(column: str, rows: pd.DataFrame) -> Series:
    """A zone's values from its rows (columns: see `read_trace`)."""
    unread = unread_times(rows["since"].to_numpy(), rows["utc"], rows["value"])
    rows = rows[np.isfinite(rows["since"])].sort_values("since", kind="stable")
    again = rows.duplicated(["since", "g_per_kwh"])  # the end of one file, and the begin of the next
    rows = rows[~again]
    since, g_per_kwh = rows["since"].to_numpy(), rows["g_per_kwh"].to_numpy()
    earlier_s, later_s = _near_steps_s(since)
    # Of two rows the one step is the usual one; of rows of a single time there is none.
    several = len(since) > 1 and since[-1] > since[0]
    usual_s = np.nan_to_num(np.fmax(earlier_s, later_s), nan=np.inf if several else 0.0)
    step_s = np.append(np.diff(since), np.inf)[: len(since)]
    until = since + np.where(step_s > 1.5 * usual_s, usual_s, step_s)
    # Of the step to a row: whether the steps on both sides of it are twice as long.
    short = np.roll(step_s < 0.5 * np.minimum(earlier_s, later_s), 1)
    after_s = np.roll(step_s, 1)
    faults: dict[int, str] = {}
    unread_rows = zip(unread.index.tolist(), unread["text"], strict=True)
    unread_texts = [f"row {row + 1}: {A_TIME} ({text})" for row, text in unread_rows]
    for since_s, until_s, text in zip(unread["since_s"], unread["until_s"], unread_texts, strict=True):
        if np.isfinite(since_s) and np.isfinite(until_s):
            faults.setdefault(int(since.searchsorted(since_s, side="right")) - 1, text)
    for wrong, expected in (
        (~rows["has_offset"].to_numpy(), f"utc {WITH_OFFSET}"),
        (~(np.isfinite(g_per_kwh) & (g_per_kwh >= 0)), f"{column} must be a number >= 0"),
        (
            g_per_kwh > MAX_G_PER_KWH,
            f"{column} must be at most {MAX_G_PER_KWH:g} g/kWh, as no grid emits more",
        ),
        (after_s == 0, "a row before has that time, and another value"),
        (after_s < LEAST_STEP_S, f"rows must be at least {LEAST_STEP_S:g} s apart"),
        (short, "it follows too soon on the row before"),
    ):
        for row in np.flatnonzero(wrong).tolist():
            utc, value = rows["utc"].iloc[row], rows["value"].iloc[row]
            faults.setdefault(row, f"row {rows.index[row] + 1}: {expected} ({utc}: {value})")
    unplaced = next((text for text in faults.values() if WITH_OFFSET in text), "")
    num_estimated = int(rows["estimated"].sum())
    return Series(since, until, g_per_kwh, faults, unplaced, num_estimated, "".join(unread_texts[:1]))


def _near_steps_s(since: Floats) -> tuple[Floats, Floats]:
    """(rows,) each: the medians of the steps before and after the step to the next row, NaN where none is."""
    nothing = np.full(NEIGHBOURS, np.nan)
    steps_s = np.where(np.diff(since) > 0, np.diff(since), np.nan)  # two rows of one time are no step
    padded = np.concatenate([nothing, steps_s, nothing, [np.nan]])
    near = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of nothing but NaN
        medians = np.nanmedian(near, axis=1)
    return medians[: len(since)], medians[NEIGHBOURS + 1 :][: len(since)]


def utc_text(seconds: float) -> str:
    """Seconds since 1970 as in 2030-01-15T09:48, with seconds where there are any."""
    at = datetime.fromtimestamp(float(seconds), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S" if at.second else "%Y-%m-%dT%H:%M")
