"""The background sender: a real store gets what the sweep itself would have sent, each run once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking.background_sender import BackgroundSender, sending_in_background
from pipeline.tracking.tracking import Tracking
from tests.commands.conftest import SIMULATED, client, runs, table
from tests.conftest import ROOT


@pytest.fixture
def sweep(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracking]:
    """Where the trials of a new sweep are written, deferred, in a store and directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    shutil.copy(empty_store, tmp_path)
    tracking = Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db")
    with tracking.open_run("sweep", {}, {}) as parent:
        yield replace(tracking, parent_run_id=parent.run_id, deferred=True)


def trial(sweep: Tracking, number: int) -> str:
    with replace(sweep, trial=number).open_run(f"trial {number}", {}, {"cut": number}) as run:
        run.log_metrics({"stages": number})
        run.log_text("text", "notes.txt")
    return run.run_id


def finished(sweep: Tracking) -> dict[int, Any]:
    """The finished runs of the sweep's trials in MLflow, by number; each trial has one run."""
    found = MlflowClient(sweep.uri).search_runs(["1"], f"tags.`mlflow.parentRunId` = '{sweep.parent_run_id}'")
    by_number = {int(run.data.tags["trial"]): run for run in found if run.info.status == "FINISHED"}
    assert len(by_number) == len(found)
    return by_number


def test_mlflow_gets_deferred_trials_when_they_are_sent(sweep: Tracking) -> None:
    with sending_in_background(sweep) as deliver:
        own = [trial(sweep, number) for number in range(3)]
        assert finished(sweep) == {}
        for run_id in own:
            deliver([run_id])
    found = finished(sweep)
    assert {number: run.data.metrics for number, run in found.items()} == {k: {"stages": k} for k in range(3)}
    assert [found[number].data.params for number in range(3)] == [{"cut": str(k)} for k in range(3)]
    assert {each.path for each in MlflowClient(sweep.uri).list_artifacts(found[2].info.run_id)} == {
        "notes.txt"
    }
    assert sweep.parent_run_id is not None
    assert sweep.ids(sweep.parent_run_id) == {own[k]: found[k].info.run_id for k in range(3)}


def test_what_a_sender_that_dies_has_not_sent_is_sent_at_the_end(sweep: Tracking) -> None:
    sender = BackgroundSender(sweep)
    sender.deliver([trial(sweep, 0)])
    assert sender._process is not None
    sender._process.kill()
    sender._process.wait()
    sender.deliver([trial(sweep, 1)])
    sender.finish()
    assert sorted(finished(sweep)) == [0, 1]


@pytest.mark.full
def test_the_sender_outlives_a_sweep_that_is_killed(sweep: Tracking) -> None:
    script = (
        "import os, signal\n"
        "from pipeline.tracking.background_sender import BackgroundSender\n"
        "from pipeline.tracking.tracking import Tracking\n"
        f"sweep = Tracking({sweep.uri!r}, parent_run_id={sweep.parent_run_id!r}, deferred=True, trial=4)\n"
        "sender = BackgroundSender(sweep)\n"
        "for _ in range(2):\n"
        "    with sweep.open_run('trial', {}, {}) as run:\n"
        "        pass\n"
        "sender.deliver([run.run_id])\n"  # the study has recorded the second only
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    for _ in range(600):
        if len([*Path("outbox").iterdir()]) == 2:  # the parent's, and the trial that is not recorded
            break
        time.sleep(0.1)
    assert list(finished(sweep)) == [4]
    assert sweep.sync() == (0, 0, 1, 0)


@pytest.mark.full
def test_processes_that_send_the_same_do_not_double_it(sweep: Tracking) -> None:
    trials = replace(sweep, outbox="later")
    own = [trial(trials, number) for number in range(6)]
    command = [sys.executable, "-m", "pipeline.tracking.background_sender", "later"]
    owner = f'["{os.uname().nodename}", {os.getpid()}, 0]'
    senders = [
        subprocess.Popen(
            [*command, owner], stdin=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for _ in range(2)
    ]
    for sender in senders:
        assert sender.stdin is not None
        sender.stdin.writelines(f"{line}\n" for line in (sweep.address, *own))
        sender.stdin.flush()
    for sender in senders:
        sender.communicate()
    assert sorted(finished(sweep)) == list(range(6))


@pytest.mark.full
def test_a_sweep_with_a_background_sender_leaves_what_one_without_does(tmp_path: Path) -> None:
    asked = (*SIMULATED, "sweep=pareto", "sweep.n_trials=4")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    left = []
    for least_trials in (1, 100):
        script = (
            "from pipeline.search import trial_loop\n"
            "from pipeline.commands.run import main\n"
            f"trial_loop.BACKGROUND_SENDER_FROM = {least_trials}\n"
            "main()\n"
        )
        where = tmp_path / str(least_trials)
        where.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", script, *asked], cwd=where, env={**kept, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "pending in" not in done.stdout
        [parent] = [run for run in runs(where) if "sweep" in run.data.tags]
        trials = {int(run.data.tags["trial"]): run for run in runs(where) if "trial" in run.data.tags}
        listed = table(where, parent.info.run_id, "trials.json")
        assert dict(zip(listed["number"], listed["run_id"], strict=True)) == {
            number: run.info.run_id for number, run in trials.items()
        }
        own = {"outbox"} if least_trials == 1 else set()
        assert all(own <= run.data.tags.keys() for run in trials.values())  # sent in the background
        left.append(
            {
                number: (
                    run.info.run_name,
                    run.data.params,
                    sorted(run.data.metrics),
                    run.data.metrics["carbon_g_per_inf"],
                    run.data.tags.keys() - own,
                    run.data.tags.get("pareto"),
                    {each.path for each in client(where).list_artifacts(run.info.run_id)},
                    [each.dataset.digest for each in run.inputs.dataset_inputs],
                )
                for number, run in trials.items()
            }
        )
    assert left[0] == left[1]
    assert sorted(left[0]) == list(range(4))
