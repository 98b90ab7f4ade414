"""A trial as jobs of Hydra's launcher: their overrides, and the trial that their results make up. Shell."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from pipeline.domain.checks import ConfigError, one_line
from pipeline.domain.trial_result import TrialResult
from pipeline.execution.devices.device_error import DeviceError
from pipeline.search.search_space import Point, SearchSpace
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.outbox import DiskError

_log = logging.getLogger(__name__)


def trial_config(config: DictConfig) -> DictConfig:
    """The part of the config that the trial is built from: all but `sweep` and Hydra's own."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("sweep", "hydra")])


def job_overrides(space: SearchSpace, repeats: int, point: Point) -> list[list[str]]:
    """The overrides of each job of a point: one job for each repetition."""
    overrides = space.overrides(point)
    return [[*overrides, f"repeat={k}"] for k in range(repeats)] if repeats > 1 else [overrides]


def tracking_overrides(space: SearchSpace, number: int, parent_run_id: str, deferred: bool) -> list[str]:
    """The overrides that make the run of a job a trial of a sweep's run.

    deferred: whether MLflow receives the run only when it has ended.
    """
    place = f"tracking.parent_run_id={parent_run_id}", f"tracking.trial={number}"
    return [
        *place,
        *(["tracking.deferred=true"] if deferred else []),
        *([f"tracking.varied=[{','.join(space.dimensions)}]"] if space.dimensions else []),
    ]


def trial_of(number: int, point: Point, jobs: Sequence[JobReturn]) -> SweepTrial:
    """The trial that a point's repetitions make up; it has failed where one of them has.

    Raises DiskError where a result could not be written: the trial is run again later, and did not fail.
    """
    outcomes = [job._return_value for job in jobs]  # the public property prints to stderr and raises
    results = [
        outcome
        for job, outcome in zip(jobs, outcomes, strict=True)
        if job.status is JobStatus.COMPLETED and isinstance(outcome, TrialResult)
    ]
    failed = next((outcome for outcome in outcomes if outcome not in results), None)
    return SweepTrial(number, point, tuple(results), _failure(number, failed) if failed is not None else "")


def _failure(number: int, outcome: object) -> str:
    """Why a job failed, in one line. An unexpected error is also logged with its traceback."""
    error: object = outcome
    while isinstance(error, BaseException) and not isinstance(error, ConfigError | DeviceError):
        error = error.__cause__
    if isinstance(error, DiskError):
        raise error
    if error:  # bad input, which Hydra may have wrapped in an error of the constructor call; a dead device
        return one_line(error)
    _log.error("trial %d", number, exc_info=outcome if isinstance(outcome, BaseException) else None)
    return f"{type(outcome).__name__}: {one_line(outcome)}"
