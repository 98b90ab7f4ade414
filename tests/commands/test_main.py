"""The console script: its list of commands, each one's help, the version, unknown names, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.commands.main import COMMANDS
from tests.commands.conftest import SIMULATED, runs, script
from tests.conftest import ROOT

HEAVY = {
    "codecarbon", "matplotlib", "mlflow", "optuna", "pandas", "plotly", "scipy", "sklearn", "timm", "torch",
    "torchvision",
}  # fmt: skip


def test_alone_and_with_help_it_lists_the_commands(tmp_path: Path) -> None:
    alone, asked = script(tmp_path), script(tmp_path, "--help")
    assert alone == asked
    assert (alone.code, alone.errors) == (0, "")
    listed = [line.split()[0] for line in alone.output.splitlines() if line.startswith("  ")]
    assert listed == [*COMMANDS, "carbonedge"]  # the last is the example


def test_there_is_a_module_for_each_command() -> None:
    assert all((ROOT / "pipeline" / "commands" / f"{name}.py").exists() for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    for flag in ("--help", "-h"):
        shown = script(tmp_path, command, flag)
        assert (shown.code, shown.errors) == (0, "")
        assert shown.output.startswith(f"usage: carbonedge {command}")
        assert f"Example:\n  carbonedge {command}" in shown.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--version",), ("run", "--version"), ("compare", "--version")])
def test_the_version_is_ours(arguments: tuple[str, ...], tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert script(tmp_path, *arguments) == (0, f"carbonedge {version}\n", "")


@pytest.mark.parametrize(
    ("name", "remedy"), [("comapre", "did you mean 'compare'?"), ("x", f"expected {', '.join(COMMANDS)}")]
)
def test_an_unknown_command_is_one_line(name: str, remedy: str, tmp_path: Path) -> None:
    assert script(tmp_path, name) == (2, "", f"error: unknown command {name!r}; {remedy}\n")


@pytest.mark.full
def test_run_and_sweep_are_the_hydra_app(tmp_path: Path) -> None:
    done = script(tmp_path, "run", *SIMULATED)
    assert (done.code, done.errors) == (0, "")
    [run] = runs(tmp_path)
    done = script(tmp_path, "sweep", *SIMULATED, "partitioner.device=auto", "scheduler=green,fastest")
    assert (done.code, done.errors) == (0, "")
    sweep = [each for each in runs(tmp_path) if each.info.run_id != run.info.run_id]
    assert sorted(each.data.tags.get("scheduler", "") for each in sweep) == ["", "fastest", "green"]
    assert len(list((tmp_path / "outputs").glob("*/*/carbonedge.log"))) == 1


def test_a_wrong_name_count_is_one_line(tmp_path: Path) -> None:
    done = script(tmp_path, "compare", "only_one")
    assert (done.code, done.output) == (2, "")
    assert done.errors.startswith("error: usage: carbonedge compare A B")
    assert done.errors.count("\n") == 1


APP, SCRIPT = "pipeline.commands.run.run_app()", "pipeline.commands.main.main()"
THIN = [
    (APP, "pipeline", "--help"),
    (APP, "pipeline", "workload.request=5"),
    (APP, "pipeline", "model=mobile_net"),
    *((SCRIPT, "carbonedge", command, "--help") for command in COMMANDS),
]


@pytest.mark.parametrize(("call", "argv"), [(call, argv) for call, *argv in THIN], ids=str)
def test_help_and_a_wrong_key_import_no_heavy_library(call: str, argv: list[str], tmp_path: Path) -> None:
    """Each of them takes up to 1.7 s of CPU to import, and the output needs none."""
    code = (
        "import json, sys\n"
        "import pipeline.commands.main, pipeline.commands.run\n"
        f"sys.argv = {argv!r}\n"
        "try:\n"
        f"    {call}\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "pipeline.commands.main" in imported
    assert imported.isdisjoint(HEAVY), sorted(imported & HEAVY)


@pytest.mark.parametrize("arguments", [("run",), ("compare", "a", "b")])
def test_an_interrupt_during_the_imports_is_one_word(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """They take seconds."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt\n")
    for command in (["-m", "pipeline.commands.main", *arguments], ["-m", "pipeline"]):
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "interrupted\n")
