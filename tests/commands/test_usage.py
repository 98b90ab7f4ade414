"""A command with a wrong number of names ends with its usage in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(("name", "usage"), [("compare", "compare A B"), ("reaccount", "reaccount RUN")])
def test_a_wrong_number_of_names_is_one_line(tmp_path: Path, name: str, usage: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("carbonedge")), name],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: usage: carbonedge {usage}")
    assert done.stderr.count("\n") == 1
