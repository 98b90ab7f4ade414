"""Read a file that somebody else may have written, up to a size. Shell."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from fsspec.compression import compr
from fsspec.utils import infer_compression

from pipeline.domain.checks import require, size_text

MOST_BYTES = 250_000_000
"""Default limit of a file of values: thirty zones by the hour take 15 MB a year."""


def content(path: Path, most_bytes: int) -> io.BytesIO:
    """The content of a file, unpacked if its name ends in .gz, .bz2, .xz or .zip.

    Raises ConfigError for content that is longer; for a broken file, what its format raises.
    """
    with path.open("rb") as packed, compr[infer_compression(str(path))](packed, mode="rb") as stream:
        data = stream.read(most_bytes + 1)
    _require_size(len(data), most_bytes)
    return io.BytesIO(data)


def parquet_table(path: Path, most_bytes: int) -> pd.DataFrame:
    """The table of a Parquet file. Errors as for `content`; its values count as unpacked."""
    from pyarrow import parquet  # takes a tenth of a second

    about = parquet.read_metadata(path)
    groups = (about.row_group(k).total_byte_size for k in range(about.num_row_groups))
    values = about.num_rows * about.num_columns * np.dtype(float).itemsize
    _require_size(max(sum(groups), values), most_bytes)
    return pd.read_parquet(path)


def _require_size(num_bytes: int, most_bytes: int) -> None:
    require(num_bytes <= most_bytes, f"it holds more than {size_text(most_bytes)} unpacked")
