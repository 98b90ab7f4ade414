"""CSV and Parquet files of values over time: carbon intensity, or the readings of a power meter. Shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.host.data_file import content, parquet_table

Floats = npt.NDArray[np.float64]


def read_table(owner: str, path: Path, most_bytes: int) -> pd.DataFrame:
    """The table of a CSV or Parquet file, compressed or not.

    owner: the config group that names the file under `path`, and the limit under `most_bytes`. Raises
    ConfigError naming the key for a file that cannot be read or is larger.
    """
    require(path.is_file(), f"{owner}.path: no such file ({path})")
    try:
        if path.suffix.lower() == ".parquet":
            return parquet_table(path, most_bytes)
        # Namibia's zone is NA.
        return pd.read_csv(content(path, most_bytes), keep_default_na=False, low_memory=False)
    except Exception as error:  # each format has its own for a broken file
        reason = f"{first_line(error)}; {owner}.most_bytes: {most_bytes}"
        raise ConfigError(f"{owner}.path: cannot read {path} ({reason})") from error


def require_columns(key: str, path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise ConfigError naming the config key and the first column that the table lacks."""
    for name in names:
        has = ", ".join(map(str, table.columns))
        require(name in table, f"{key}: {path} has no column {name!r} (it has {has})")


def utc_seconds(key: str, path: Path, utc: pd.Series) -> Floats:
    """(rows,): ISO 8601 times as seconds since 1970, NaN for text that is not a time.

    A time without offset counts as UTC. Raises ConfigError for times outside the range of pandas.
    """
    try:
        at = pd.to_datetime(utc, utc=True, errors="coerce", format="ISO8601")
        return np.asarray((at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=float)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{key}: {path} contains invalid times ({error})") from error


def have_offset(utc: pd.Series) -> npt.NDArray[np.bool_]:
    """(rows,): whether each time states its offset from UTC."""
    if isinstance(utc.dtype, pd.DatetimeTZDtype):
        return np.ones(len(utc), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(utc.dtype):
        return np.zeros(len(utc), dtype=bool)
    return np.asarray(utc.astype(str).str.contains(r"[Tt ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$"), dtype=bool)


def numbers(values: pd.Series) -> Floats:
    """(rows,): values as numbers, NaN for text that is not a number."""
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)
