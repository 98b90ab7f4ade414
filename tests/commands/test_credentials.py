"""A password that is given in an address is in no file and on no screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import SIMULATED, carbonedge

URI = "postgresql://me:hunter2@127.0.0.1:9/x"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((f"tracking.uri={URI}",), marks=pytest.mark.full),
        ("-m", "repeat=0,1", f"tracking.uri={URI}"),
        pytest.param(("-m", "repeat=0,1", f"sweep.storage={URI}"), marks=pytest.mark.full),
    ],
)
def test_no_file_holds_a_password(arguments: tuple[str, ...], tmp_path: Path) -> None:
    found = carbonedge(tmp_path, *SIMULATED, *arguments)
    assert found.code == 2
    assert found.errors.startswith(("error: tracking.uri: cannot use", "error: sweep.storage: cannot"))
    assert "hunter2" not in found.output + found.errors
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


@pytest.mark.parametrize(
    "argument",
    ["tracking.url=https://me:hunter2@h", "tracking.uri=https://me:hunter2@h{", "grid.url=htp:/me:hunter2@h"],
)
def test_an_error_about_the_wrong_key_does_not_show_it(argument: str, tmp_path: Path) -> None:
    found = carbonedge(tmp_path, *SIMULATED, argument)
    assert found.code == 2
    assert found.errors.startswith("error: ")
    assert "hunter2" not in found.output + found.errors


@pytest.mark.full
def test_nor_does_a_run_that_succeeds(tmp_path: Path) -> None:
    """Its config is in .hydra/, in the store and among its artifacts."""
    secret = "tracking.outbox='outbox?password=hunter2'"
    assert carbonedge(tmp_path, *SIMULATED, secret).code == 0
    kept = [path for path in tmp_path.rglob("*.yaml") if b"password=***" in path.read_bytes()]
    assert {path.name for path in kept} >= {"config.yaml", "overrides.yaml", "hydra.yaml"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
