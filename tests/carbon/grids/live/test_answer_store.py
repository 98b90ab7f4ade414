"""Answers on disk that cannot be read or written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Service, maps


def test_a_broken_answer_on_disk_is_named(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    (kept,) = tmp_path.rglob("*.json")
    huge = json.dumps({**json.loads(kept.read_text()), "points": [[NOW.isoformat(), 10**400, "measured"]]})
    for text in ("{", "[]", "[" * 100_000, kept.read_text().replace("2", "-2"), huge):
        kept.write_text(text)
        with pytest.raises(ConfigError, match="is broken"):
            grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    kept.unlink()
    os.mkfifo(kept)
    with pytest.raises(ConfigError, match="is broken .*is not a regular file.; remove it"):
        grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_a_folder_that_cannot_be_written_is_named(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="grid.cache_dir: cannot write .*file/electricitymaps/DE"):
        maps(service, tmp_path / "file").steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
