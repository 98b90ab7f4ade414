"""The `action` of a trial: run, profile or validate. Shell."""

from __future__ import annotations

import functools
import logging

import torch

from pipeline.domain.trial_result import TrialResult
from pipeline.results.fleet_notes import fleet_notes
from pipeline.results.zone_notes import zone_notes
from pipeline.trial.profile_action import profile
from pipeline.trial.provenance import Provenance
from pipeline.trial.run_action import run
from pipeline.trial.start_notes import start_notes
from pipeline.trial.trial import Trial
from pipeline.trial.validate_action import validate

_log = logging.getLogger(__name__)


def perform(trial: Trial, provenance: Provenance) -> TrialResult:
    """Perform the trial's `action`, log it to MLflow, and return the result that a sweep needs.

    Raises ConfigError for bad input and for a plan that its devices cannot hold, before a run is opened. It
    also raises ConfigError if no device can hold a stage on auto or if every request is refused; the run is
    then FAILED, and its tag `failure` gives the reason.
    """
    trial.tracking.check()
    torch.set_num_threads(1)
    zones = zone_notes(trial.fleet, trial.grid, getattr(trial.meter, "zone", None))
    first_utc = getattr(trial.workload, "first_utc", None)  # of a log that is dated
    when = start_notes(first_utc, trial.start_utc, trial.grid, trial.fleet) if trial.action == "run" else []
    for note in (*fleet_notes(trial.fleet), *zones, *when):
        _tell(note)
    actions = {"run": run, "profile": profile, "validate": validate}
    return actions[trial.action](trial, provenance)


@functools.cache
def _tell(note: str) -> None:
    """Log a line once: the trials of a sweep share their fleet and their log."""
    _log.warning(note)
