"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.host.files import write_atomically


def test_a_text_takes_the_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_atomically(path, "new · ü")
    assert path.read_text(encoding="utf-8") == "new · ü"
    assert [*tmp_path.iterdir()] == [path]


def test_where_writing_fails_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(path, "text")
    assert [*tmp_path.iterdir()] == [path]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone" / "a.txt", "text")
