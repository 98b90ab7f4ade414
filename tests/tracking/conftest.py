"""A real SQLite store in a fresh working directory, and what runs leave in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run as Stored
from mlflow.tracking import MlflowClient

from pipeline.tracking import mlflow_store
from pipeline.tracking.tracking import Tracking
from tests.conftest import ROOT

ENVIRONMENT = ("TRACKING_URI", "EXPERIMENT_ID", "EXPERIMENT_NAME", "RUN_ID")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with an empty experiment, to be copied: MLflow takes seconds to create one."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        for name in ENVIRONMENT:
            patch.delenv(f"MLFLOW_{name}", raising=False)
        Tracking(uri=f"sqlite:///{path}").check()
    return path


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """A store in a fresh directory, which is also the working directory: the outbox is ./outbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        for name in ENVIRONMENT:
            patch.delenv(f"MLFLOW_{name}", raising=False)
        shutil.copy(empty_store, ".")
        yield Tracking(uri=f"sqlite:///{Path.cwd()}/mlflow.db")


def stored(tracking: Tracking, run_id: str) -> Stored:
    return MlflowClient(tracking_uri=tracking.uri).get_run(run_id)


def run(tracking: Tracking, name: str = "trial") -> str:
    with tracking.open_run(name, {}, {}) as opened:
        return opened.run_id


def artifact(tracking: Tracking, run_id: str, path: str) -> bytes:
    return Path(MlflowClient(tracking_uri=tracking.uri).download_artifacts(run_id, path)).read_bytes()


@pytest.fixture
def away(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """A switch: while it is on, requests to the store fail as those to a dead server do."""

    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    methods = (
        "create_run",
        "log_batch",
        "log_artifacts",
        "set_terminated",
        "search_runs",
        "get_run",
        "set_tag",
    )

    def switch(gone: bool) -> None:
        mlflow_store._retry_at_s.clear()
        monkeypatch.undo()
        for method in methods if gone else ():
            monkeypatch.setattr(MlflowClient, method, fail)

    yield switch
    switch(False)


def environment() -> dict[str, str]:
    hidden = {f"MLFLOW_{name}" for name in ENVIRONMENT}
    return {k: v for k, v in os.environ.items() if k not in hidden} | {"PYTHONPATH": str(ROOT)}
