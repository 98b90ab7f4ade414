"""A sweep's audit believes the trials that the store has."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.results.audit.sweep_audit import sweep_audit

IDENTITY = {"id": "0ab", "name": "sweep"}
EXAMPLE = {"run": IDENTITY, "method": "", "grid": {}, "coefficients": [], "software": {}, "config": {}}
TRIALS = pd.DataFrame(
    {
        "run_id": ["a", "b", "c"],
        "name": ["1", "2", "3"],
        "status": ["FINISHED", "FAILED", "FINISHED"],
        "tags.pareto": ["true", "true", "false"],
    }
)


def test_only_finished_trials_are_on_the_front_and_are_counted() -> None:
    metrics = {"front_size": 1e15, "trials_complete": 2.0, "trials_failed": 1.0}
    audit = sweep_audit(IDENTITY, metrics, {}, TRIALS, [], EXAMPLE)
    assert audit["front"] == ["a"]
    assert audit["metrics"] == {"front_size": 1, "trials_complete": 2.0, "trials_failed": 1.0}


def test_more_trials_than_the_store_has_are_not_believed() -> None:
    with pytest.raises(ConfigError, match="run 0ab: its metrics count 4 trials, and the store has 3; .*sync"):
        sweep_audit(IDENTITY, {"trials_complete": 3.0, "trials_failed": 1.0}, {}, TRIALS, [], EXAMPLE)


def test_more_complete_trials_than_have_finished_are_not_believed() -> None:
    with pytest.raises(
        ConfigError, match="run 0ab: its metrics count 3 complete trials, and 2 have FINISHED"
    ):
        sweep_audit(IDENTITY, {"trials_complete": 3.0}, {}, TRIALS, [], EXAMPLE)
