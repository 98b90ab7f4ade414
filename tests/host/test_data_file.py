"""A data file is read up to a limit, however it is packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.host.data_file import content


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
    assert content("grid", path, 1000).read() == b"a" * 1000
    with pytest.raises(
        ConfigError, match=r"^grid\.path: .* holds more than 0\.999 kB unpacked; set grid\.most_bytes"
    ):
        content("grid", path, 999)


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
def test_a_bomb_is_not_unpacked(tmp_path: Path, suffix: str) -> None:
    """100 MB of zeros; no more than the limit and the library's buffers are held."""
    path = tmp_path / f"trace.csv{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(ConfigError, match="holds more than"):
        content("grid", path, 1_000_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_broken_or_missing_file_and_a_pipe_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with pytest.raises(ConfigError, match=r"^grid\.path: no such file"):
        content("grid", path, 10)
    path.write_bytes(b"not packed")
    with pytest.raises(ConfigError, match=r"^grid\.path: cannot read .*trace\.csv\.gz \("):
        content("grid", path, 10)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match=r"^workload\.path: no such file"):
        content("workload", tmp_path / "pipe.csv", 10)
