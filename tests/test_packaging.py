"""MLproject, Makefile, pyproject.toml and constraints.txt agree: entry points, versions, console script."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.projects.utils import load_project
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipeline.commands.terminal.cli import config, spread_overrides
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS["dev"]]]
SIMPLE = ["model=mobilenet_v2", "fleet=paper"]
SWEEP = ["sweep=pareto", *SIMPLE, "given:workload.requests=", "sweep.n_trials=36", "sweep.seed=0"]
CHOICE = [*SIMPLE, "partitioner=monolithic", "given:scheduler=", "given:workload.requests="]
ARGV = {
    "main": ["python", "-m", "pipeline", *SWEEP],
    "run": ["python", "-m", "pipeline", *CHOICE],
    "profile": ["python", "-m", "pipeline", "action=profile", *SIMPLE],
    "paper": ["python", "-m", "pipeline.commands.main", "paper"],
}


def argv(entry: str, **parameters: str) -> list[str]:
    """The arguments that `mlflow run . -e ENTRY -P name=value ...` passes to the operating system."""
    project: Any = load_project(str(ROOT))  # type: ignore[no-untyped-call]
    return shlex.split(project.get_entry_point(entry).compute_command(parameters, storage_dir=None))


def pins() -> dict[str, Version]:
    """The versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


@pytest.mark.parametrize("entry", ARGV)
def test_an_entry_point_runs_on_its_defaults(entry: str) -> None:
    assert argv(entry) == [*ARGV[entry], "overrides="]


@pytest.mark.parametrize("entry", ARGV)
@pytest.mark.parametrize(
    "overrides",
    [
        "seed=3 workload.requests=20",
        "note='two words' +tags=[\"a b\",c]",
        "grid.trace='it\\'s {x}' $HOME `id`; echo *",
    ],
)
def test_overrides_arrive_as_one_argument_whatever_they_hold(entry: str, overrides: str) -> None:
    assert argv(entry, overrides=overrides) == [*ARGV[entry], f"overrides={overrides}"]


def test_a_number_arrives_as_it_was_written() -> None:
    assert argv("main", n_trials="4", requests="5", seed="7")[-4:-1] == [
        "given:workload.requests=5",
        "sweep.n_trials=4",
        "sweep.seed=7",
    ]


def test_another_workload_is_not_given_what_it_lacks() -> None:
    """`mlflow run . -e run -P overrides="workload=poisson"` could not override workload.requests."""
    asked = spread_overrides(argv("run", overrides="workload=poisson")[3:])
    assert asked == [*CHOICE[:-2], "workload=poisson"]
    assert config(asked).workload.duration_s == 60
    assert spread_overrides(argv("run", requests="5")[3:])[-1] == "workload.requests=5"


def test_the_console_script_is_found_where_only_its_folder_is_in_the_path(tmp_path: Path) -> None:
    assert PROJECT["scripts"] == {"carbonedge": "pipeline.commands.main:main"}
    assert 'PATH="$(CURDIR)/$(BIN):$$PATH"' in (ROOT / "Makefile").read_text()
    project: Any = load_project(str(ROOT))  # type: ignore[no-untyped-call]
    for entry in ARGV:
        command = project.get_entry_point(entry).compute_command({}, storage_dir=None)
        found = subprocess.run(
            ["/bin/bash", "-c", f"command -v {command.split()[0]}"],
            env={"PATH": str(Path(sys.executable).parent)}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert Path(found.stdout.strip()).parent == Path(sys.executable).parent


def test_entry_points_are_those_that_are_tested() -> None:
    assert set(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]) == set(ARGV)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_a_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin)
    assert pin.local is None, "a local version (+cpu) is available only in some indexes"


def test_mlflow_builds_its_environment_from_the_same_constraints() -> None:
    name = yaml.safe_load((ROOT / "MLproject").read_text())["python_env"]
    environment = yaml.safe_load((ROOT / name).read_text())
    assert environment == {"dependencies": ["-c constraints.txt", "."]}
    assert "-c constraints.txt" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    "name", ["constraints.txt", "Makefile", "MLproject", "python_env.yaml", "pyproject.toml", ".ci/run"]
)
def test_the_packaging_names_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|\bfile:", text)


def test_python_starts_at_3_11_everywhere() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert PROJECT["requires-python"] == ">=3.11"
    assert tools["mypy"]["python_version"] == "3.11"
    assert tools["ruff"]["target-version"] == "py311"
    assert "(3, 11)" in (ROOT / "Makefile").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    for name in ["Makefile", "pyproject.toml", "constraints.txt"]:
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")  # as a Python that is too old responds to the Makefile's check
    old.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "setup", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"CarbonEdge needs Python 3.11 or newer as `{old}`" in done.stderr
    assert not (tmp_path / ".venv").exists()
