"""CSV and Parquet files of values over time: carbon intensity, a power meter's readings, requests. Shell."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.host.data_file import csv_content, parquet_table

Floats = npt.NDArray[np.float64]
WITH_OFFSET = "must state its offset, as in 2021-06-01T00:00Z"
"""What is expected of a time: without an offset it may be a local one."""
A_TIME = "utc must be a time as in 2021-06-01T00:00Z"
"""What is expected of a text that is no time."""


def read_table(owner: str, path: Path, most_bytes: int, *, growing: bool = False) -> pd.DataFrame:
    """The table of a CSV or Parquet file, compressed or not; the values of a CSV file are texts.

    owner: the config group that names the file under `path`, and the limit under `most_bytes`. growing:
    whether a program may still write the file, so that a last line without an end is a part of one. Raises
    ConfigError naming the key for a file that cannot be read or is larger.
    """
    require(path.is_file(), f"{owner}.path: no such file ({path})")
    try:
        if path.suffix.lower() == ".parquet":
            return parquet_table(path, most_bytes)
        table = csv_table(csv_content(path, most_bytes), growing=growing)
        # Files that were put together have their header again.
        again = table.iloc[:, 0] == table.columns[0]
        return table[~again] if again.any() else table
    except Exception as error:  # each format has its own for a broken file
        reason = f"{first_line(error)}; {owner}.most_bytes: {most_bytes}"
        raise ConfigError(f"{owner}.path: cannot read {path} ({reason})") from error


def csv_table(data: bytes, *, growing: bool = False) -> pd.DataFrame:
    """The table of a CSV file, all values as texts. growing: as for `read_table`.

    Raises ValueError for rows with more fields than the header; else what pandas raises.
    """
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            # As texts, the ids 007 and NA, which is Namibia's zone, stay what they are.
            return pd.read_csv(
                io.BytesIO(_without_torn_line(data, growing)), skipinitialspace=True, index_col=False,
                dtype=str, keep_default_na=False,
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        header = data.partition(b"\n")[0].decode(errors="replace").strip()
        raise ValueError(
            f"rows have more fields than the header {header!r:.80}; separate fields by commas, quote a value "
            "with a comma (decimals have a point), and end no row with one"
        ) from error


def _without_torn_line(data: bytes, growing: bool) -> bytes:
    """The lines of a CSV file without the last where it has no end, and fewer fields than the header.

    growing: also where it has as many fields, the last of which may be cut off.
    """
    whole, end, last = data.rpartition(b"\n")
    torn = growing or last.count(b",") < data.partition(b"\n")[0].count(b",")
    return whole + end if end and torn else data


def require_columns(key: str, path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise ConfigError naming the config key and the first column that the table lacks."""
    for name in names:
        has = ", ".join(map(str, table.columns))
        require(name in table, f"{key}: {path} has no column {name!r} (it has {has})")


def utc_seconds(utc: pd.Series) -> Floats:
    """(rows,): ISO 8601 times as seconds since 1970, NaN for text that is not a time.

    A time without offset counts as UTC; `have_offset` tells. Other years than 1678 to 2261, in which pandas
    counts nanoseconds, count as no time.
    """
    at = pd.to_datetime(utc, utc=True, errors="coerce", format="ISO8601").dt.as_unit("us")
    seconds = at.astype("int64").to_numpy() / 1e6
    return np.where(at.isna() | (at.dt.year < 1678) | (at.dt.year > 2261), np.nan, seconds)


def have_offset(utc: pd.Series) -> npt.NDArray[np.bool_]:
    """(rows,): whether each time states its offset from UTC."""
    if isinstance(utc.dtype, pd.DatetimeTZDtype):
        return np.ones(len(utc), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(utc.dtype):
        return np.zeros(len(utc), dtype=bool)
    return np.asarray(utc.astype(str).str.contains(r"[Tt ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)\s*$"), dtype=bool)


def numbers(values: pd.Series) -> Floats:
    """(rows,): values as numbers, NaN for text that is not a number."""
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)


def unread_times(at_s: Floats, utc: pd.Series, values: pd.Series) -> pd.DataFrame:
    """The rows of a table whose time cannot be read (at_s is NaN), though they say something.

    Columns: since_s and until_s, between which the row lies: the times of the nearest rows above and below
    that can be read, the earlier first (-inf and inf where there is none); and text: what it says.
    """
    at = pd.Series(at_s, index=utc.index)
    above, below, bad = at.ffill().fillna(-np.inf), at.bfill().fillna(np.inf), at.isna()
    table = pd.DataFrame(
        {
            "since_s": np.minimum(above, below)[bad],
            "until_s": np.maximum(above, below)[bad],
            "text": utc[bad].astype(str) + ": " + values[bad].astype(str),
        }
    )
    return table[~(_blank(utc[bad]) & _blank(values[bad]))]


def _blank(cells: pd.Series) -> pd.Series:
    return cells.isna() | (cells.astype(str).str.strip() == "")
