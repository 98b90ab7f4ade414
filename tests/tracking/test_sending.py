"""Pending runs: each is sent once, whatever happens to the store and to the processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, environment, run, stored


def log_something(run: Run) -> None:
    run.log_metrics({"latency_ms_p50": 2.0, "carbon_total_g": 3.0})
    run.log_params({"stages": 2})
    run.set_tags({"mlflow.runName": "renamed"})
    run.log_text("text", "notes.txt")


@pytest.mark.full
@pytest.mark.parametrize("gone_at", ["before it", "within it"])
def test_a_trial_outlives_the_store_and_is_sent_once(
    store: Tracking, away: Callable[[bool], None], gone_at: str
) -> None:
    sweep = run(store, f"sweep {gone_at}")
    trial = replace(store, parent_run_id=sweep, trial=3)
    run(replace(trial, trial=2))  # so that the sweep's experiment is known
    away(gone_at == "before it")
    with trial.open_run("trial", {"model": "m"}, {}) as opened:
        away(True)
        log_something(opened)
    trial.deliver([opened.run_id])
    assert store.sync() == (0, 1, 1, 0)  # held back: the one that no study has recorded
    assert "1 runs are pending in outbox" in store.farewell()
    away(False)
    assert store.sync() == (1, 0, 1, 0)
    store.settle(sweep, [])
    children = store.children(sweep)
    [found] = children[children["tags.trial"] == "3"].to_dict("records")
    assert (found["status"], found["name"], found["tags.model"]) == ("FINISHED", "renamed", "m")
    assert (found["metrics.latency_ms_p50"], found["params.stages"]) == (2.0, "2")
    assert artifact(store, found["run_id"], "notes.txt") == b"text"
    shutil.rmtree("outbox")


def test_what_has_waited_is_sent_with_the_next_that_the_store_takes(
    store: Tracking, away: Callable[[bool], None]
) -> None:
    sweep = run(store, "sweep of four")
    trial = replace(store, parent_run_id=sweep, trial=0)
    store.deliver([run(trial, "first")])
    away(True)
    waits = run(trial, "second")
    store.deliver([waits])
    away(False)
    store.deliver([run(trial, "third")])
    assert sorted(store.children(sweep)["name"]) == ["first", "second", "third"]
    assert set(store.children(sweep)["status"]) == {"FINISHED"}
    assert not Path("outbox").exists()


def test_what_was_sent_before_the_sender_was_killed_is_not_doubled(
    store: Tracking, away: Callable[[bool], None]
) -> None:
    """It is sent again from the start, since the outbox keeps it until then."""
    sweep = run(store, "sweep of one")
    trial = replace(store, parent_run_id=sweep, trial=0)
    run(trial)
    shutil.rmtree("outbox")
    away(True)
    with trial.open_run("trial", {}, {}) as opened:
        log_something(opened)
    kept = Path("kept")
    shutil.copytree("outbox", kept)
    away(False)
    trial.deliver([opened.run_id])
    shutil.copytree(kept, "outbox")
    trial.deliver([opened.run_id])
    shutil.rmtree(kept)
    children = store.children(sweep)
    [found] = children[(children["name"] == "renamed") & (children["status"] == "FINISHED")].to_dict(
        "records"
    )
    points = MlflowClient(tracking_uri=store.uri).get_metric_history(found["run_id"], "latency_ms_p50")
    assert [point.value for point in points] == [2.0]


@pytest.mark.full
def test_a_trial_that_began_in_the_outbox_is_tagged_by_either_id(
    store: Tracking, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    """As where a server goes away twice in a sweep: its study knows the trial by the outbox's id."""
    sweep = run(store, "sweep")
    away(True)
    begun = run(replace(store, parent_run_id=sweep), "begun without the store")
    away(False)
    assert store.sync() == (1, 0, 0, 0)
    away(True)
    store.tag_front(sweep, {begun}, ())
    away(False)
    assert store.sync() == (1, 0, 0, 0)
    (trial,) = store.children(sweep).to_dict("records")
    assert trial["run_id"] != begun
    assert trial["tags.pareto"] == "true"
    away(True)
    store.tag_front(sweep, (), {begun})
    away(False)
    assert store.sync() == (1, 0, 0, 0)
    assert "tags.pareto" not in store.children(sweep)
    assert caplog.text == ""


def test_what_the_store_will_never_take_is_set_aside_and_the_rest_sent(
    store: Tracking, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    sweep = run(store, "sweep of two, one deleted")
    gone, kept = (run(replace(store, parent_run_id=sweep)) for _ in range(2))
    away(True)
    store.tag_front(sweep, {gone, kept}, ())
    away(False)
    MlflowClient(tracking_uri=store.uri).delete_run(gone)
    assert store.sync() == (1, 0, 0, 1)
    assert stored(store, kept).data.tags["pareto"] == "true"
    assert f"MLflow rejects run '{gone}'" in caplog.text
    assert [path.name for path in Path("outbox/refused").iterdir()] == [gone]
    assert store.sync() == (0, 0, 0, 0)
    shutil.rmtree("outbox")


def test_trials_of_a_dead_process_are_sent_if_recorded_else_killed(
    store: Tracking,
) -> None:
    sweep = run(store, "sweep of three")
    script = (
        "import os\n"
        "from pipeline.tracking.tracking import Tracking\n"
        f"trials = Tracking(uri={store.uri!r}, parent_run_id={sweep!r}, trial=7)\n"
        "for status in ('known', 'unknown'):\n"
        "    with trials.open_run(status, {}, {}) as run:\n"
        "        run.log_metrics({'stages': 2})\n"
        "    print(run.run_id, flush=True)\n"
        "with trials.open_run('cut short', {}, {}) as run:\n"
        "    print(run.run_id, flush=True)\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    known, unknown, cut_short = done.stdout.split()
    alive = run(replace(store, parent_run_id=sweep, trial=8))  # of this process, which lives
    assert set(store.settle(sweep, [known])) == {unknown, cut_short}
    status = {run_id: stored(store, run_id).info.status for run_id in (known, unknown, cut_short, alive)}
    assert list(status.values()) == ["FINISHED", "KILLED", "KILLED", "RUNNING"]
    store.link_killed(sweep, {7: known})
    assert stored(store, cut_short).data.tags["rerun_as"] == known
    store.deliver([alive])
    assert not Path("outbox").exists()


def test_a_run_whose_process_was_killed_is_closed_by_sync(store: Tracking) -> None:
    script = (
        "import os\n"
        "from pipeline.tracking.tracking import Tracking\n"
        f"with Tracking(uri={store.uri!r}).open_run('long', {{}}, {{}}) as run:\n"
        "    print(run.run_id, flush=True)\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    run_id = done.stdout.strip()
    assert stored(store, run_id).info.status == "RUNNING"
    assert store.sync() == (1, 0, 0, 0)
    assert stored(store, run_id).info.status == "KILLED"
    assert stored(store, run_id).data.tags["failure"] == "killed"
    assert not Path("outbox").exists()
