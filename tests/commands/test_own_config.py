"""A user's files are read as they are meant, or refused in a line that names them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pipeline.commands.run import main
from pipeline.commands.terminal.own_config import require_as_meant
from pipeline.domain.checks import ConfigError
from tests.conftest import CONF


def written(folder: Path, name: str, text: str) -> Path:
    """A file of that name in the folder's group `fleet`."""
    (folder / "fleet").mkdir(exist_ok=True)
    (folder / "fleet" / name).write_text(text)
    return folder / "fleet" / name


def test_a_file_with_the_name_of_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra took ours, without a word."""
    mine = written(tmp_path, "boards.yaml", "name: mine")
    monkeypatch.setattr(sys, "argv", ["pipeline", "fleet=boards", "--config-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    ours = CONF / "fleet" / "boards.yaml"
    assert capsys.readouterr().err == (
        f"error: --config-dir: {mine} has the name of {ours}, which would be used: give it another\n"
    )


def test_a_copy_of_ours_and_a_name_of_its_own_are_taken(tmp_path: Path) -> None:
    written(tmp_path, "boards.yaml", (CONF / "fleet" / "boards.yaml").read_text())
    written(tmp_path, "mine.yaml", "name: mine")
    require_as_meant([f"--config-dir={tmp_path}", "fleet=mine"])
    require_as_meant(["--config-dir", str(tmp_path / "none")])  # which Hydra itself refuses


@pytest.mark.parametrize(
    ("text", "number", "base"),
    [
        ("idle_w: 012", "012", 8),  # 10 to YAML
        ("devices: {a: {idle_w: -012}}", "-012", 8),
        ("zones: [1, 00]", "00", 8),
        ("active_w: 1:30", "1:30", 60),  # 90 to YAML
        ("active_w: 0:30.5", "0:30.5", 60),  # 30.5
    ],
)
def test_a_number_that_yaml_misreads_is_refused(tmp_path: Path, text: str, number: str, base: int) -> None:
    mine = written(tmp_path, "mine.yaml", f"# 007\n{text}\n")
    complaint = f"{mine}, line 2: YAML reads {number} as a number of base {base}: write it without"
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}"):
        require_as_meant(["--config-dir", str(tmp_path)])


@pytest.mark.parametrize(
    "text",
    [
        "idle_w: 0",
        "idle_w: 0.12",
        "idle_w: 0x1F",
        "start_utc: 2021-06-01T00:00",
        "at: 00:30",  # a text to YAML
        "tenant: '007'",
        "sources: {idle_w: of 007 and 1:30}",
        "note: >-\n  012",
        "@not_yaml: 012",
    ],
)
def test_other_values_are_taken(tmp_path: Path, text: str) -> None:
    written(tmp_path, "mine.yaml", text)
    require_as_meant(["--config-dir", str(tmp_path)])
