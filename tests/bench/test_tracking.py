"""What the bench compares is the same work: both ways leave the same runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking.tracking import Tracking
from tests.bench.tracking import FIGURES, batches, one_by_one


def test_both_ways_leave_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracking = Tracking("sqlite:///mlflow.db")
    tracking.check()
    batches(tracking, 2)
    one_by_one(tracking, 1)
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if run.data.metrics]
    assert [run.data.metrics for run in trials] == [FIGURES] * 3
    assert [len(run.data.params) for run in trials] == [8, 8, 8]
    files = [{each.path for each in client.list_artifacts(run.info.run_id)} for run in trials]
    assert files == [{"config.yaml", "ledger.json", "overrides.yaml", "run.json"}] * 3
