"""A data file is read up to a limit, however it is packed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.domain.checks import ConfigError
from pipeline.host import data_file
from pipeline.host.data_file import content, csv_content, parquet_table, text_of


def _zip(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trace.csv", data)
    return packed.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": _zip,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_the_limit_counts_what_is_unpacked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trace.csv{suffix}"
    path.write_bytes(PACKERS[suffix](b"a" * 1000))
    assert content(path, 1000).read() == b"a" * 1000
    with pytest.raises(ConfigError, match=r"^it holds more than 0\.999 kB unpacked$"):
        content(path, 999)


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
def test_a_bomb_is_not_unpacked(tmp_path: Path, suffix: str) -> None:
    """100 MB of zeros; no more than the limit and the library's buffers are held."""
    path = tmp_path / f"trace.csv{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(ConfigError, match="holds more than"):
        content(path, 1_000_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_parquet_file_of_many_equal_values_is_refused(tmp_path: Path) -> None:
    """A million zeros take a few kB on disk and 8 MB in memory."""
    path = tmp_path / "trace.parquet"
    pd.DataFrame({"value": np.zeros(1_000_000)}).to_parquet(path)
    assert path.stat().st_size < 100_000
    assert len(parquet_table(path, 8_000_000)) == 1_000_000
    with pytest.raises(ConfigError, match=r"^it holds more than 8\.0 MB unpacked$"):
        parquet_table(path, 7_999_999)


BOMBS = {
    "a text of many rows": pa.array(["x" * 1000] * 3000),
    "a category of many rows": pa.array(["x" * 1000] * 3000, pa.dictionary(pa.int32(), pa.string())),
    "bytes of many rows": pa.array([b"x" * 1000] * 3000, pa.binary()),
    "bytes of a fixed length": pa.array([b"x" * 1000] * 3000, pa.binary(1000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_text_counts_for_each_row_that_refers_to_it(tmp_path: Path, name: str) -> None:
    """A few kB on disk, 3 MB in memory; with a text of 100 kB and more rows it was gigabytes."""
    path = tmp_path / "trace.parquet"
    parquet.write_table(pa.table({"a.b": BOMBS[name], "other": range(3000)}), path)
    assert path.stat().st_size < 30_000
    assert len(parquet_table(path, 3_100_000)) == 3000
    with pytest.raises(ConfigError, match=r"^it holds more than 2\.9 MB unpacked$"):
        parquet_table(path, 2_900_000)


@pytest.mark.parametrize("values", [[[1.0] * 1000], [{"k": "x"}]])
def test_a_parquet_file_of_nested_values_is_refused(tmp_path: Path, values: list[object]) -> None:
    path = tmp_path / "trace.parquet"
    parquet.write_table(pa.table({"value": pa.array(values)}), path)
    with pytest.raises(ConfigError, match=r"^its column 'value\..*' holds lists or structures$"):
        parquet_table(path, 1_000_000)


def test_a_parquet_file_of_many_row_groups_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_file, "MOST_GROUPS", 3)
    parquet.write_table(pa.table({"value": range(4)}), tmp_path / "t.parquet", row_group_size=1)
    with pytest.raises(ConfigError, match="^it has 4 row groups, and at most 3 are read$"):
        parquet_table(tmp_path / "t.parquet", 1_000_000)


def test_padding_counts(tmp_path: Path) -> None:
    """Zeros after the packed content are skipped one by one."""
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(b"a") + bytes(2000))
    with pytest.raises(ConfigError, match="holds more than 1 kB"):
        content(path, 1000)


def test_a_parquet_file_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    table = pd.DataFrame(
        {"zone": ["DE", None], "at": pd.to_datetime(["2020", "2021"]), "kind": pd.Categorical(["a", "b"])},
        index=["x", "y"],
    )
    table.to_parquet(path)
    pd.testing.assert_frame_equal(parquet_table(path, 10_000), table.reset_index(drop=True))


def test_what_a_program_wrote_about_a_table_is_not_evaluated(tmp_path: Path) -> None:
    """pyarrow takes names of columns for Python's literals: this one ended in a MemoryError."""
    deep = "-" * 90_000 + "1"
    kinds = [{"name": None, "pandas_type": "int64", "numpy_type": "int64", "metadata": None}] * 2
    told = json.dumps({"columns": [], "index_columns": [], "column_indexes": kinds})
    table = pa.table({deep: [1.0]}).replace_schema_metadata({"pandas": told})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(parquet_table(tmp_path / "a.parquet", 10_000_000)) == [deep]


def test_texts_that_are_no_utf_8_are_refused_when_they_are_read(tmp_path: Path) -> None:
    texts = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"zone": texts}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="UTF8"):
        parquet_table(tmp_path / "a.parquet", 10_000)


def test_each_value_counts_however_short(tmp_path: Path) -> None:
    """A short file of empty values takes a reference for each as soon as it is read."""
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + ",\n" * 99)
    assert len(csv_content(path, 1600)) == 202
    with pytest.raises(ConfigError, match="it holds more than"):
        csv_content(path, 1599)


def test_a_table_has_a_limit_of_columns(tmp_path: Path) -> None:
    """An empty one takes kB in memory: 87 kB of commas took 5 GB."""
    many, most = tmp_path / "a.csv", data_file.MOST_COLUMNS
    for text, count in ((b"," * most, most + 1), (b'"a\n' + b'"' + b"," * (most + 4), most + 5)):
        many.write_bytes(text + b"\n1\n")
        with pytest.raises(ConfigError, match=f"^it has {count} columns, and at most {most} are read$"):
            csv_content(many, 10_000_000)
    many.write_bytes(b"a,b\n1,2\n")
    assert csv_content(many, 10_000) == b"a,b\n1,2\n"
    wide = pa.table({f"c{k}": ["x"] for k in range(most + 1)})
    parquet.write_table(wide, tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="it has 1001 columns"):
        parquet_table(tmp_path / "a.parquet", 10_000_000)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer would block for ever, and /dev/zero has no end."""
    path = tmp_path / "trace.parquet"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for read in (content, parquet_table, text_of):
        with pytest.raises(ConfigError, match=r"trace\.parquet is not a regular file$"):
            read(path, 1000)
