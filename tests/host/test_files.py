"""Files are replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.host.files import write_atomically


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_atomically(tmp_path / "kept.json", text)
        assert (tmp_path / "kept.json").read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "kept.json").mkdir()  # which no file can replace
    with pytest.raises(OSError, match=r"kept\.json"):
        write_atomically(tmp_path / "kept.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "kept.json", "new")
