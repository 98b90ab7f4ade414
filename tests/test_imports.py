"""import-linter accepts the packages as they are, and rejects each kind of wrong import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

WRONG = {
    "pipeline.domain.upward": "import pipeline.execution",
    "pipeline.planning.typing_only": "import typing\nif typing.TYPE_CHECKING:\n    import pipeline.results",
    "pipeline.search.store": "import mlflow",
    "pipeline.results.plug_in": "import schedulers",
    "schedulers.upward": "import pipeline.tracking",
    "schedulers.across": "import partitioners",
}
"""Modules to add, and what they hold."""


def lint(folder: Path) -> tuple[int, str]:
    """Exit code and output of `lint-imports` in a folder."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_wrong_import_fails_the_linter(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("pipeline", "partitioners", "schedulers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    code, output = lint(tmp_path)
    assert code == 0, output
    for module, text in WRONG.items():
        (tmp_path / f"{module.replace('.', '/')}.py").write_text(text)
    code, output = lint(tmp_path)
    assert code == 1, output
    for contract in (
        "Imports point one way",
        "The pipeline names no plug-in",
        "Plug-ins use the packages up to execution",
        "Partitioners and schedulers do not know each other",
        "Only tracking imports MLflow",
    ):
        assert f"{contract} BROKEN" in output
    for module, text in WRONG.items():
        assert f"{module} -> {text.rpartition(' ')[2]}" in output
