"""A data file is read up to a limit, however it is packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.host.data_file import content, parquet_table


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
