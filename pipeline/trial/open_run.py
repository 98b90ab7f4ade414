"""The MLflow run of a trial, opened with the tags and params that all actions share. Shell."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pipeline.tracking.mlflow_run import Run
from pipeline.trial.provenance import Provenance
from pipeline.trial.trial import Trial

FAMILIES = ("partitioner", "scheduler", "backend", "grid")
"""Config groups whose choice is a tag."""


def opened(name: str, trial: Trial, provenance: Provenance) -> AbstractContextManager[Run]:
    """A run of that name; see `Tracking.open_run`."""
    identity = {"model": trial.model.name, "fleet": trial.fleet.name}
    chosen = {family: provenance.choices.get(family, "") for family in FAMILIES}
    return trial.tracking.open_run(name, {**identity, **chosen}, {**provenance.varied(), **identity})
