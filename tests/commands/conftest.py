"""Runs the program as a user does, and reads what it left in a store."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT, SHARED
from tests.preloaded import Preloaded

FOLDER = Path(os.environ[SHARED])
"""Shared by all tests: each need not measure the same profile, nor create a store."""
PRELOADED = Preloaded(FOLDER / "preloaded")
SMALL = (
    f"profiler.cache_dir={FOLDER}",
    "model=mobilenetv4_conv_small",
    "model.input_size=64",
    "workload.requests=4",
    "profiler.warmup=0",
    "profiler.repeats=1",
    "backend.warmup=1",
    "meter=none",
)
SIMULATED = (*(each for each in SMALL if not each.startswith(("workload.", "backend."))), "backend=simulated")


class Outcome(NamedTuple):
    code: int
    output: str
    errors: str


SCRIPT = Path(sys.executable).with_name("carbonedge")
"""The console script of this environment."""


@functools.cache
def empty_store() -> Path:
    """A SQLite store without experiments of ours, to be copied: MLflow takes seconds to create one."""
    path = FOLDER / f"{os.getpid()}.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def carbonedge(directory: Path, *arguments: str, **environment: str) -> Outcome:
    """Run `python -m pipeline` in a directory, with a store of its own there."""
    if not (directory / "mlflow.db").exists():
        shutil.copy(empty_store(), directory / "mlflow.db")
    return outcome(directory, [sys.executable, "-m", "pipeline", *arguments], environment)


def script(directory: Path, *arguments: str, **environment: str) -> Outcome:
    """Run `carbonedge` in a directory, with a store of its own there."""
    return outcome(directory, [str(SCRIPT), *arguments], environment)


def outcome(directory: Path, command: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """Run a command in a directory; of MLflow's variables it gets only those in `environment`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    result = PRELOADED.run(directory, command, {**kept, "PYTHONPATH": str(ROOT), **environment})
    return Outcome(result.returncode, result.stdout, result.stderr)


def client(directory: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{directory}/mlflow.db")


def table(directory: Path, run_id: str, path: str) -> pd.DataFrame:
    """A table artifact of a run."""
    file = client(directory).download_artifacts(run_id, path, str(directory))
    return pd.DataFrame(**json.loads(Path(file).read_text()))


def runs(directory: Path) -> list:  # type: ignore[type-arg]
    store = client(directory)
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    return list(store.search_runs(experiments))


def metrics(directory: Path, run_id: str) -> dict[str, float]:
    found: dict[str, float] = client(directory).get_run(run_id).data.metrics
    return found


def store(directory: Path) -> str:
    """The override that names a directory's store."""
    return f"tracking.uri=sqlite:///{directory}/mlflow.db"


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A store with the same requests on node-medium and on node-green, and the two runs' ids."""
    where = tmp_path_factory.mktemp("store")
    for device in ("node-medium", "node-green"):
        done = carbonedge(where, *SIMULATED, "workload.requests=20", f"partitioner.device={device}")
        assert done.code == 0, done.errors
    by_device = {run.data.params["devices"]: run.info.run_id for run in runs(where)}
    return where, by_device["node-medium"], by_device["node-green"]
