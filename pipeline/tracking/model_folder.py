"""The MLflow model of a plan as files: its two parts, and the folder that MLflow serves. Shell.

MLflow runs what the `MLmodel` of a folder names. Only this module writes one, and it names our own loader,
whoever wrote the parts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.domain.checks import require

MODEL = "model"
"""A run's artifact that MLflow serves."""
PARTS = f"{MODEL}/data/plan"
"""Folder of its parts among a run's artifacts."""
PLAN_FILE, SPEC_FILE = "plan.json", "model.yaml"
"""The parts: the plan (`pipeline.planning.plan_file`), and `model` of the config."""
DIGEST_TAG = "model_digest"
"""Tag of a run with a model, and of the version that it is registered as: tells whether two are the same."""
LOADER = "pipeline.tracking.pyfunc_model"


def require_own_model(artifacts: Path) -> None:
    """Raise ConfigError where the artifacts of a run hold a model of another name, or ours without a part."""
    for path in artifacts.rglob("*"):
        own = path.relative_to(artifacts).parts[0] == MODEL
        require(own or path.name.lower() != "mlmodel", f"{path} would be a model of another's making")
    for name in (PLAN_FILE, SPEC_FILE) if (artifacts / MODEL).exists() else ():
        part = artifacts / PARTS / name
        require(part.is_file(), f"{part}, a part of its model, is missing")


@contextmanager
def with_model(artifacts: Path) -> Iterator[Path]:
    """The artifacts of a run as they are sent: with its model, written anew from the parts.

    It is the folder itself, if the run has no model. Both parts must exist (`require_own_model`).
    """
    if not (artifacts / MODEL).exists():
        yield artifacts
        return
    from mlflow.pyfunc import save_model

    with tempfile.TemporaryDirectory() as folder:
        parts, whole = Path(folder) / Path(PARTS).name, Path(folder) / "artifacts"
        parts.mkdir()
        for name in (PLAN_FILE, SPEC_FILE):
            shutil.copy(artifacts / PARTS / name, parts)
        shutil.copytree(artifacts, whole, ignore=lambda at, _: [MODEL] if Path(at) == artifacts else [])
        save_model(
            str(whole / MODEL), loader_module=LOADER, data_path=str(parts), pip_requirements=["carbonedge"]
        )
        yield whole
