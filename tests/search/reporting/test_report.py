"""Repetitions in a sweep's report: means, intervals, the front beyond chance, the baseline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError
from tests.search.conftest import Multirun, runs


@pytest.mark.full
def test_trials_that_differ_by_seed_alone_are_repetitions(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = multirun(
        "scheduler=performance,green", "scheduler.carbon_weight=0.1,0.9", "workload.seed=1,2,3",
        "+sweep.baseline.scheduler=performance", "partitioner.stages=1",
    )  # fmt: skip
    assert len(trials) == 12
    [parent], children = runs(root)
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    summary = json.loads(Path(client.download_artifacts(parent.info.run_id, "summary.json")).read_text())
    rows = [dict(zip(summary["columns"], row, strict=True)) for row in summary["data"]]
    assert [(row["scheduler"], row["carbon_weight"], row["repeats"]) for row in rows] == [
        ("performance", 0.1, 3), ("performance", 0.9, 3), ("green", 0.1, 3), ("green", 0.9, 3),
    ]  # fmt: skip
    waste = (0.33 - 0.5) ** 2 + 0.1
    for row in rows:
        # Seeds 1, 2 and 3 add .25, .5 and .75: Student's t of 4.303 times .25 ÷ the root of 3.
        assert row["carbon_g_per_inf"] == pytest.approx(1.5 - row["carbon_weight"] + waste + 0.5)
        low, high = (row[f"carbon_g_per_inf_{end}"] - row["carbon_g_per_inf"] for end in ("lo", "hi"))
        assert (low, high) == pytest.approx((-0.62104, 0.62104), abs=1e-5)
    # The weight decides, and performance of the same weight is no better: nothing sets green apart.
    assert [row["change"] for row in rows] == [None, None, 0, 0]
    # Not only objectives: 2 J whatever the seed.
    assert {
        (row["energy_j_per_inf"], row["energy_j_per_inf_lo"], row["energy_j_per_inf_hi"]) for row in rows
    } == {(2, 2, 2)}
    tagged = [child for child in children if child.data.tags.get("pareto") == "true"]
    assert len(tagged) == 12
    assert parent.data.metrics["front_size"] == 4
    printed = capsys.readouterr().out
    assert "Means of n repetitions, and their 95% intervals (Student's t)" in printed
    assert "carbon against scheduler=performance" in printed
    assert [row["p_value"] for row in rows] == [None, None, 1, 1]
    # Weights differ by the same amounts at each seed, schedulers of one weight not at all: all are on it.
    assert "On the front beyond chance (all of these with 95% confidence): performance 0.1, " in printed
    assert [child.data.tags.get("pareto_confident") for child in children] == ["true"] * 12


def test_what_is_on_the_front_beyond_chance_is_tagged(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights .1 and .9 trade carbon for latency by more than the seeds do."""
    multirun("scheduler.carbon_weight=0.1,0.9", "sweep.repeats=3", "partitioner.stages=1")
    _, children = runs(root)
    assert [child.data.tags.get("pareto_confident") for child in children] == ["true"] * 6
    assert (
        "On the front beyond chance (all of these with 95% confidence): 0.1, 0.9" in capsys.readouterr().out
    )


@pytest.mark.full
def test_each_trial_of_a_study_is_repeated(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Repeats 0, 1 and 2 add 0, .25 and .5 to both objectives: on average .25."""
    study = ("scheduler.carbon_weight=interval(0,1)", "partitioner.stages=1", "sweep.sampler=random")
    more = (f"sweep.storage={root}/s.journal", "sweep.study_name=s", "sweep.repeats=3")
    multirun(*study, *more, "sweep.n_trials=2")
    trials = multirun(*study, *more, "sweep.n_trials=4")
    assert [len(trial.results) for trial in trials] == [3, 3, 3, 3]
    waste = (0.33 - 0.5) ** 2 + 0.1
    for trial in trials:
        weight = float(trial.point["scheduler.carbon_weight"])
        assert trial.metrics["carbon_g_per_inf"] == pytest.approx(1.5 - weight + waste + 0.25)
    [parent], children = runs(root)
    assert len(children) == 12
    assert parent.data.params["repeats"] == "3"
    assert all(child.data.tags["trial"] in "0123" for child in children)
    assert parent.data.metrics["trials_complete"] == 4
    assert parent.data.metrics["front_size"] == 4
    assert all(child.data.tags["pareto"] == "true" for child in children)
    printed = capsys.readouterr().out
    assert "On the front beyond chance (all of these with 95% confidence): " in printed
    assert re.search(r"\d to \d", printed)
    with pytest.raises(ConfigError, match=r"sweep.repeats was 3 and is 2"):
        multirun(*study, *more, "sweep.n_trials=5", "sweep.repeats=2")
