"""Read a file that somebody else may have written, up to a size. Shell."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd
from fsspec.compression import compr
from fsspec.utils import infer_compression

from pipeline.domain.checks import require, size_text

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

MOST_BYTES = 250_000_000
"""Default limit of a file of values: thirty zones by the hour take 15 MB a year."""
MOST_TEXT_BYTES = 10_000_000
"""Limit of other texts, such as a plan or a profile, of which ours have some kB."""
WIDTH = 8
"""Bytes that a value takes at least: a number, or the reference to a text."""
MOST_GROUPS = 10_000
"""Most row groups of a Parquet file, each of which takes time: a group mostly has 100,000 rows or more."""
NUMBERING = r"__index_level_\d+__"
"""Columns in which pandas writes an index without a name."""
MOST_COLUMNS = 1_000
"""Most columns of a table: each takes kB and time, even where all are empty."""
BATCH = 10_000
"""Rows of a Parquet file that are counted at once."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file. Raises ConfigError for a pipe, which may block, a device, which has no end, and others.

    Raises OSError for a file that is missing or may not be read.
    """
    # Else the opening of a pipe waits for a writer; Windows has no such files.
    at_once = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | at_once)) as file:
        require(stat.S_ISREG(os.fstat(file.fileno()).st_mode), f"{path} is not a regular file")
        yield file


def content(path: Path, most_bytes: int) -> io.BytesIO:
    """The content of a file, unpacked if its name ends in .gz, .bz2, .xz or .zip.

    Raises ConfigError for content that is longer, and as `opened`; for a broken file, what its format raises.
    """
    with opened(path) as packed, compr[infer_compression(str(path))](packed, mode="rb") as stream:
        _require_size(os.fstat(packed.fileno()).st_size, most_bytes)
        data = stream.read(most_bytes + 1)
    _require_size(len(data), most_bytes)
    return io.BytesIO(data)


def csv_content(path: Path, most_bytes: int) -> bytes:
    """The content of a CSV file. Errors as for `content`; ConfigError also for more than MOST_COLUMNS.

    A value counts as WIDTH bytes where it is shorter: so much it takes as soon as it is read.
    """
    data = content(path, most_bytes).getvalue()
    _require_size(WIDTH * (data.count(b",") + data.count(b"\n")), most_bytes)
    header: list[str] = next(csv.reader(io.TextIOWrapper(io.BytesIO(data))), [])
    require_few_columns(len(header))
    return data


def require_few_columns(count: int) -> None:
    """Raise ConfigError for a table with more than MOST_COLUMNS."""
    require(count <= MOST_COLUMNS, f"it has {count} columns, and at most {MOST_COLUMNS} are read")


def text_of(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a file. Raises ValueError unless it is UTF-8; other errors as for `content`."""
    return content(path, most_bytes).read().decode()


def parquet_table(path: Path, most_bytes: int) -> pd.DataFrame:
    """The table of a Parquet file. Errors as for `content`; its values count as unpacked.

    A text that the file holds once, and that many rows refer to, counts once a row. Raises ConfigError for
    columns of lists, of which a row may hold any number of values, and of structures.
    """
    from pyarrow.parquet import ParquetFile  # takes a tenth of a second

    with opened(path) as file:
        _require_size(os.fstat(file.fileno()).st_size, most_bytes)
        about = ParquetFile(file)
        _require_flat(about, most_bytes)
        num_bytes = 0
        for batch_bytes in _text_bytes(about, file):
            num_bytes += batch_bytes
            _require_size(num_bytes, most_bytes)
        file.seek(0)
        table = ParquetFile(file).read()
        table.validate(full=True)  # else a text that is no UTF-8 is found when it is used
        # What pandas wrote about the table is not needed, and evaluated as Python's literals.
        found: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
        return found.drop(columns=[name for name in found if re.fullmatch(NUMBERING, str(name))])


def _require_flat(about: ParquetFile, most_bytes: int) -> None:
    """Raise ConfigError for nested values, many row groups, and too many values of fixed width."""
    num_groups = about.metadata.num_row_groups
    require(num_groups <= MOST_GROUPS, f"it has {num_groups} row groups, and at most {MOST_GROUPS} are read")
    groups = [about.metadata.row_group(k) for k in range(num_groups)]
    require_few_columns(len(about.schema))
    columns = [about.schema.column(k) for k in range(len(about.schema))]
    nested = [each.path for each in columns if each.path != each.name or each.max_repetition_level > 0]
    require(not nested, f"its column {''.join(nested[:1])!r:.60} holds lists or structures")
    width = sum(max(column.length or 0, WIDTH) for column in columns)
    num_rows = max(about.metadata.num_rows, sum(group.num_rows for group in groups))
    _require_size(max(num_rows * width, sum(group.total_byte_size for group in groups)), most_bytes)


def _text_bytes(about: ParquetFile, file: BinaryIO) -> Iterator[int]:
    """Bytes of the texts, column by column and batch by batch, without a copy of a text for each row."""
    from pyarrow.parquet import ParquetFile

    columns = (about.schema.column(k) for k in range(len(about.schema)))
    for name in {column.path: None for column in columns if column.physical_type == "BYTE_ARRAY"}:
        coded = ParquetFile(file, read_dictionary=[name])
        for group in range(about.metadata.num_row_groups):
            for batch in coded.iter_batches(BATCH, row_groups=[group], columns=[name]):
                yield sum(_coded_bytes(column) for column in batch.columns)


def _coded_bytes(column: Any) -> int:
    """Bytes of a column's texts; of one that is coded by a dictionary, as if it were not."""
    import pyarrow.compute as pc
    from pyarrow.types import is_dictionary

    if not is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(lengths.cast("int64")).as_py() or 0)


def _require_size(num_bytes: int, most_bytes: int) -> None:
    require(num_bytes <= most_bytes, f"it holds more than {size_text(most_bytes)} unpacked")
