"""A file that is no table, too large or no file is one line that names the key."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.host.utc_table import read_table


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with pytest.raises(ConfigError, match=r"^grid\.path: no such file"):
        read_table("grid", path, 10)
    path.write_bytes(b"not packed")
    with pytest.raises(ConfigError, match=r"^grid\.path: cannot read .*trace\.csv\.gz \("):
        read_table("grid", path, 10)
    path.write_bytes(gzip.compress(b"zone,utc\n" + b"DE,2021\n" * 1000))
    assert len(read_table("grid", path, 17_000)) == 1000
    words = r"cannot read .* \(it holds more than 1 kB unpacked; grid\.most_bytes: 1000\)$"
    with pytest.raises(ConfigError, match=words):
        read_table("grid", path, 1000)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match=r"^meter\.path: no such file"):
        read_table("meter", tmp_path / "pipe.csv", 10)
