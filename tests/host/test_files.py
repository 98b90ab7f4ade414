"""A file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.host.files import write_atomically


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("one", "zwei ×"):
        write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_what_stood_there_stays_where_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]
