"""Runs in a real SQLite store: their life, their content, and what is said where none can be had."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from hydra.utils import instantiate
from matplotlib.figure import Figure
from mlflow.entities import Run as Stored
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

from pipeline.domain.checks import ConfigError
from pipeline.results.metric_table import METRICS, metric
from pipeline.tracking import mlflow_store
from pipeline.tracking.datasets import Dataset
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.tracking import Tracking
from tests.conftest import ROOT

ENVIRONMENT = ("TRACKING_URI", "EXPERIMENT_ID", "EXPERIMENT_NAME", "RUN_ID")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """A store in a fresh directory, which is also the working directory: artifacts go to ./mlruns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        for name in ENVIRONMENT:
            patch.delenv(f"MLFLOW_{name}", raising=False)
        tracking = Tracking(uri=f"sqlite:///{Path.cwd()}/mlflow.db")
        tracking.check()
        yield tracking


def stored(tracking: Tracking, run_id: str) -> Stored:
    return MlflowClient(tracking_uri=tracking.uri).get_run(run_id)


def run(tracking: Tracking, name: str = "trial") -> str:
    with tracking.open_run(name, {}, {}) as opened:
        return opened.run_id


def artifact(tracking: Tracking, run_id: str, path: str) -> bytes:
    return Path(MlflowClient(tracking_uri=tracking.uri).download_artifacts(run_id, path)).read_bytes()


# --- a run's life ---------------------------------------------------------------------------------


def test_a_run_is_running_inside_its_block_and_finished_after_it(store: Tracking) -> None:
    with store.open_run("split in two", {"model": "mobilenet_v2"}, {"stages": 2}) as opened:
        assert stored(store, opened.run_id).info.status == "RUNNING"
    after = stored(store, opened.run_id)
    assert after.info.status == "FINISHED"
    assert after.info.run_name == "split in two"
    assert after.data.tags["model"] == "mobilenet_v2"
    assert after.data.tags["mlflow.user"]
    assert after.data.params == {"stages": "2"}


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no such\ncut"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_an_error_ends_the_run_says_why_and_goes_on(
    store: Tracking, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), store.open_run("trial", {}, {}) as opened:
        raise error
    after = stored(store, opened.run_id)
    assert after.info.status == status
    assert after.data.tags["failure"] == f"{type(error).__name__}: {error}".splitlines()[0]


def test_a_start_that_fails_half_way_leaves_no_run_running(store: Tracking) -> None:
    with pytest.raises(Exception, match="Invalid value"), store.open_run("broken start", {}, {"what?": 1}):
        pass
    client = MlflowClient(tracking_uri=store.uri)
    (found,) = client.search_runs(["1"], "attributes.run_name = 'broken start'")
    assert found.info.status == "FAILED"
    assert [path.name for path in Path("outbox/refused").iterdir()] == [found.info.run_id]
    shutil.rmtree("outbox")


def test_sigterm_kills_a_sweep_and_its_trial_in_the_store_too(store: Tracking) -> None:
    script = (
        "import sys, time\n"
        "from dataclasses import replace\n"
        "from pipeline.tracking.tracking import Tracking\n"
        f"tracking = Tracking(uri={store.uri!r})\n"
        "with tracking.open_run('sweep', {}, {}) as sweep:\n"
        "    with replace(tracking, parent_run_id=sweep.run_id).open_run('trial', {}, {}) as trial:\n"
        "        print(sweep.run_id, trial.run_id, flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    run_ids = process.stdout.readline().decode().split()
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=30)
    assert complaint.decode().splitlines()[-1] == "KeyboardInterrupt: SIGTERM"
    assert [stored(store, run_id).info.status for run_id in run_ids] == ["KILLED", "KILLED"]


def test_handlers_of_sigterm_are_restored_and_other_threads_left_alone(store: Tracking) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_ids: list[str] = []
    thread = threading.Thread(target=lambda: run_ids.append(run(store)))
    thread.start()
    thread.join()
    assert stored(store, run_ids[0]).info.status == "FINISHED"
    run(store)
    assert signal.getsignal(signal.SIGTERM) is before


# --- which run, which experiment ------------------------------------------------------------------


def test_the_run_that_mlflow_run_opened_is_resumed(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    project = client.create_run("1", run_name="by mlflow run").info.run_id
    client.log_param(project, "model", "as typed")
    monkeypatch.setenv("MLFLOW_RUN_ID", project)
    with store.open_run("ours", {"backend": "simulated"}, {"model": "resolved", "seed": 1}) as opened:
        assert opened.run_id == project
        opened.log_params({"model": "as it ran", "seed": 2})
        opened.flush()
        opened.log_params({"model": "again", "seed": 3, "stages": 2})
    after = stored(store, project)
    assert (after.info.run_name, after.info.status) == ("ours", "FINISHED")
    assert after.data.tags["backend"] == "simulated"
    assert after.data.params == {"model": "as typed", "seed": "1", "stages": "2"}


def test_a_trial_is_a_new_run_of_its_sweep_even_under_mlflow_run(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = run(store, "sweep")
    monkeypatch.setenv("MLFLOW_RUN_ID", sweep)
    trial = run(replace(store, experiment="elsewhere", parent_run_id=sweep))
    assert trial != sweep
    assert stored(store, trial).data.tags["mlflow.parentRunId"] == sweep
    assert stored(store, trial).info.experiment_id == stored(store, sweep).info.experiment_id


def test_the_environment_wins_over_the_config(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by name")
    tracking = Tracking(uri="http://127.0.0.1:9", experiment="by config")
    by_name = stored(store, run(tracking)).info.experiment_id
    assert client.get_experiment(by_name).name == "by name"
    by_id = client.create_experiment("by id")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", by_id)
    assert stored(store, run(tracking)).info.experiment_id == by_id


def test_unknown_and_deleted_things_are_named_with_the_remedy(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"tracking.parent_run_id: .* no run 'gone'"):
        run(replace(store, parent_run_id="gone"))
    client = MlflowClient(tracking_uri=store.uri)
    client.delete_experiment(client.create_experiment("old"))
    with pytest.raises(ConfigError, match=r"tracking.experiment: 'old' is deleted; .* experiments restore"):
        replace(store, experiment="old").check()
    monkeypatch.setenv("MLFLOW_RUN_ID", "gone")
    with pytest.raises(ConfigError, match=r"MLFLOW_RUN_ID: .* no run 'gone'"):
        run(store)


# --- a run's content ------------------------------------------------------------------------------


def test_metrics_that_are_not_known_are_left_out(store: Tracking) -> None:
    with store.open_run("trial", {}, {}) as opened:
        opened.log_metrics(
            {"latency_ms_p50": 0.0, "latency_ms_p50_lo": -1.5, "energy_j_per_inf": None}
            | {"carbon_g_per_inf": float("nan"), "inferences_per_g": float("inf")}
        )
        opened.log_metrics({"hypervolume": 1.0}, step=1)
        opened.log_metrics({"hypervolume": 2.0}, step=2)
    metrics = stored(store, opened.run_id).data.metrics
    assert metrics == {"latency_ms_p50": 0.0, "latency_ms_p50_lo": -1.5, "hypervolume": 2.0}


@pytest.mark.parametrize("key", ["latency", "latency_ms_p50_least", "latency_ms_p50_lo_hi", "_lo"])
def test_a_second_spelling_of_a_metric_is_refused(store: Tracking, key: str) -> None:
    with (
        pytest.raises(ValueError, match=f"unknown metric '{key}'"),
        store.open_run("trial", {}, {}) as opened,
    ):
        opened.log_metrics({"latency_ms_p50": 1.0, key: 1.0})
    assert stored(store, opened.run_id).data.metrics == {}


def test_every_metric_reads_well_and_its_key_names_its_unit() -> None:
    units = {"_ms_": "ms", "_us_": "µs", "_j": "J", "_rps": "requests/s", "_bytes": "B"}
    for key, (label, unit, meaning) in METRICS.items():
        assert label[0] == label[0].upper()
        assert len(meaning) > len(key)
        assert metric(f"{key}_hi") is METRICS[key]
        for part, expected in units.items():
            assert part not in key or unit == expected, key
        assert not re.search("carbon_([a-z]+_)?g(_per_inf)?$", key) or unit == "g", key


def test_artifacts_are_shown_by_the_ui_and_work_offline(store: Tracking) -> None:
    picture = Figure()
    picture.add_subplot().plot([1, 2])
    with store.open_run("trial", {}, {}) as opened:
        opened.log_table(pd.DataFrame({"request": [0, 1], "device": ["a", None]}), "ledger.json")
        opened.log_text("seed: 1\n", "config.yaml")
        opened.log_figure(go.Figure(go.Scatter(x=[1], y=[2])), "front.html")
        opened.log_figure(picture, "front.png")
    run_id = opened.run_id
    assert artifact(store, run_id, "ledger.json") == (
        b'{"columns": ["request", "device"], "data": [[0, "a"], [1, null]]}'
    )
    assert '"ledger.json", "type": "table"' in stored(store, run_id).data.tags["mlflow.loggedArtifacts"]
    assert artifact(store, run_id, "config.yaml") == b"seed: 1\n"
    assert b"<script src=" not in artifact(store, run_id, "front.html").replace(b"'", b"")
    assert artifact(store, run_id, "front.png").startswith(b"\x89PNG")


# --- a sweep --------------------------------------------------------------------------------------


def test_all_trials_of_a_sweep_are_found_page_by_page(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "_PAGE", 2)
    sweep = run(store, "sweep")
    trials = replace(store, parent_run_id=sweep, trial=0)
    assert list(store.children(sweep).columns) == ["run_id", "name", "status"]
    for number in range(5):
        with trials.open_run(f"trial {number}", {"model": "m"}, {"number": number}) as opened:
            opened.log_metrics({"latency_ms_p50": number})
        assert stored(store, opened.run_id).info.status == "RUNNING"  # held back, until the study knows
        store.deliver([opened.run_id])
    children = store.children(sweep)
    assert children["name"].tolist() == [f"trial {number}" for number in range(5)]
    assert children["metrics.latency_ms_p50"].tolist() == [0, 1, 2, 3, 4]
    assert children["params.number"].tolist() == ["0", "1", "2", "3", "4"]
    assert set(children["tags.model"]) == {"m"}
    assert set(children["status"]) == {"FINISHED"}


def test_a_run_says_what_it_was_fed_once(store: Tracking) -> None:
    fed = [
        Dataset("rooms", "0123456789abcdef", "/images/rooms", "images"),
        Dataset("DE.csv", "ab", "DE.csv", "grid"),
    ]
    with store.open_run("fed", {}, {}) as opened:
        opened.log_inputs(fed)
        opened.flush()
        opened.log_inputs(fed[:1])
    fed_in = stored(store, opened.run_id).inputs
    assert fed_in is not None
    inputs = fed_in.dataset_inputs
    assert {(each.dataset.name, each.dataset.digest, each.tags[0].value) for each in inputs} == {
        ("rooms", "0123456789abcdef", "images"),
        ("DE.csv", "ab", "grid"),
    }
    assert len(inputs) == 2


def test_a_table_is_read_back_to_every_digit_and_without_a_row(store: Tracking) -> None:
    """Of categories, as a ledger is; MLflow's own way of writing takes one without rows for images."""
    thirds = pd.DataFrame({"device": pd.Categorical(["a", "b"]), "g": [1 / 3, 2e-13 / 3]})
    with store.open_run("tables", {}, {}) as opened:
        opened.log_table(thirds, "thirds.json")
        some = pd.DataFrame({"g": [1.0, math.inf], "h": [math.nan, 3], "i": ["2", None]})
        opened.log_table(some, "unknown.json")
        opened.log_table(thirds[:0], "empty.json")
    found = store.stored(opened.run_id)
    assert found.table("thirds.json").to_dict("list") == thirds.to_dict("list")
    assert json.loads(artifact(store, opened.run_id, "unknown.json"))["data"] == [
        [1.0, None, "2"],
        [None, 3.0, None],
    ]
    back = found.table("unknown.json")
    assert back["h"].dtype == float
    assert back["i"][0] == "2"
    assert list(found.table("empty.json")) == ["device", "g"]
    assert found.table("empty.json").empty
    with pytest.raises(ConfigError, match="tables.: has no other.json"):
        found.table("other.json")


@pytest.mark.parametrize(
    "content", ["", "{", '{"columns": ["g"], "data": [[1', "[1, 2]", '{"other": 1}', "a: [b"]
)
def test_what_a_run_keeps_and_nobody_can_read_is_named(store: Tracking, content: str) -> None:
    with store.open_run("torn", {}, {}) as opened:
        for name in ("ledger.json", "run.json", "config.yaml"):
            opened.log_text(content, name)
        opened.log_text(content, "records.parquet")
    found = store.stored(opened.run_id)
    with pytest.raises(ConfigError, match="torn.: its ledger.json cannot be read: "):
        found.table("ledger.json")
    with pytest.raises(ConfigError, match="its records.parquet cannot be read: ArrowInvalid"):
        found.table("records.json")
    if content != '{"other": 1}':
        with pytest.raises(ConfigError, match="its run.json cannot be read: "):
            found.json("run.json")
    if not content.startswith("{"):
        with pytest.raises(ConfigError, match="its config.yaml cannot be read: "):
            found.config("config.yaml")


def test_a_run_that_goes_on_keeps_its_models_version(store: Tracking) -> None:
    Path("data").mkdir()
    own = []
    for _ in range(2):
        with store.open_run("sweep", {}, {}) as opened:
            opened.log_model(Path("data"), "pipeline.tracking.pyfunc_model")
        own.append(opened.run_id)
    assert [store.register(run_id, "knee") for run_id in (own[0], own[1], own[0])] == ["1", "2", "1"]
    assert store.register(own[0], "other") == "1"


def test_the_front_is_tagged_and_former_members_are_not(store: Tracking) -> None:
    sweep, other = run(store, "sweep"), run(store, "other sweep")
    a, b, c = (run(replace(store, parent_run_id=sweep)) for _ in range(3))
    apart = run(replace(store, parent_run_id=other))
    store.tag_front(other, [apart], [])
    store.tag_front(sweep, [a, b], [c])
    store.tag_front(sweep, [b, c], [a])
    store.tag_front(sweep, [c], [], "pareto_confident")
    store.tag_front(sweep, [], [c], "pareto_confident")
    tags = [stored(store, run_id).data.tags.get("pareto") for run_id in (a, b, c, apart)]
    assert tags == [None, "true", "true", "true"]
    assert "pareto_confident" not in stored(store, c).data.tags


# --- a store that goes away -----------------------------------------------------------------------


@pytest.fixture
def away(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Makes the store's requests fail, as those to a server do that is not there, until told otherwise."""

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


def log_something(run: Run) -> None:
    run.log_metrics({"latency_ms_p50": 2.0, "carbon_total_g": 3.0})
    run.log_params({"stages": 2})
    run.set_tags({"mlflow.runName": "renamed"})
    run.log_text("text", "notes.txt")


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
    assert store.sync() == (0, 1, 1)  # held back: the one that no study told of
    assert "1 runs are pending in outbox" in store.farewell()
    away(False)
    assert store.sync() == (1, 0, 1)
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
    """It is sent again whole, as the outbox has it to the end."""
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


def test_what_the_store_will_never_take_is_set_aside_and_the_rest_sent(
    store: Tracking, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    sweep = run(store, "sweep of two, one deleted")
    gone, kept = (run(replace(store, parent_run_id=sweep)) for _ in range(2))
    away(True)
    store.tag_front(sweep, {gone, kept}, ())
    away(False)
    MlflowClient(tracking_uri=store.uri).delete_run(gone)
    assert store.sync() == (2, 0, 0)
    assert stored(store, kept).data.tags["pareto"] == "true"
    assert f"MLflow rejects run '{gone}'" in caplog.text
    assert [path.name for path in Path("outbox/refused").iterdir()] == [gone]
    assert store.sync() == (0, 0, 0)
    shutil.rmtree("outbox")


def test_processes_that_share_a_sweep_do_not_take_each_others_files(store: Tracking) -> None:
    with store.open_run("sweep", {}, {}) as first:
        script = (
            "from pipeline.tracking.tracking import Tracking\n"
            f"with Tracking(uri={store.uri!r}).open_run('sweep', {{}}, {{}}, {first.run_id!r}) as second:\n"
            "    second.log_text('of the second', 'second.txt')\n"
        )
        first.log_text("of the first", "first.txt")
        subprocess.run([sys.executable, "-c", script], env=_environment(), check=True)
        first.log_text("of the first, later", "later.txt")
    assert store.stored(first.run_id).status == "FINISHED"
    assert [artifact(store, first.run_id, f"{name}.txt") for name in ("first", "second", "later")] == [
        b"of the first",
        b"of the second",
        b"of the first, later",
    ]
    assert not Path("outbox").exists()


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"run_id": "x"}'])
def test_an_entry_that_cannot_be_read_is_set_aside(
    store: Tracking, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path("outbox/x").mkdir(parents=True)
    Path("outbox/x/run.json").write_text(content)
    assert store.sync() == (0, 0, 0)
    assert "outbox/x/run.json cannot be read" in caplog.text
    assert Path("outbox/refused/x/run.json").read_text() == content
    shutil.rmtree("outbox")


def test_the_front_is_tagged_later_where_the_store_is_away(
    store: Tracking, away: Callable[[bool], None]
) -> None:
    sweep = run(store, "sweep of two")
    trial = replace(store, parent_run_id=sweep, trial=0)
    a, b = run(trial), run(trial)
    store.deliver([a, b])
    store.tag_front(sweep, [a], [b])
    away(True)
    store.tag_front(sweep, [b], [a])
    away(False)
    assert store.sync() == (2, 0, 0)
    assert [stored(store, run_id).data.tags["pareto"] for run_id in (a, b)] == ["false", "true"]
    assert stored(store, b).info.status == "FINISHED"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, text: str, *args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def log(opened: Run) -> None:
        monkeypatch.setattr(Path, "write_text", full)
        opened.log_text("text", "notes.txt")

    complaint = r"tracking.outbox: cannot write to .*: No space left on device"
    with pytest.raises(ConfigError, match=complaint), store.open_run("full", {}, {}) as opened:
        log(opened)
    monkeypatch.undo()
    assert stored(store, opened.run_id).info.status == "FAILED"
    assert "No space left" in stored(store, opened.run_id).data.tags["failure"]
    assert not Path("outbox").exists()


def test_trials_of_a_dead_process_are_killed_or_sent_as_the_study_knows_of_them(store: Tracking) -> None:
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
    done = subprocess.run([sys.executable, "-c", script], env=_environment(), capture_output=True, text=True)
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
    done = subprocess.run([sys.executable, "-c", script], env=_environment(), capture_output=True, text=True)
    run_id = done.stdout.strip()
    assert stored(store, run_id).info.status == "RUNNING"
    assert store.sync() == (1, 0, 0)
    assert stored(store, run_id).info.status == "KILLED"
    assert stored(store, run_id).data.tags["failure"] == "killed"
    assert not Path("outbox").exists()


# --- no store, and no noise -----------------------------------------------------------------------


def _environment() -> dict[str, str]:
    hidden = {f"MLFLOW_{name}" for name in ENVIRONMENT}
    return {k: v for k, v in os.environ.items() if k not in hidden} | {"PYTHONPATH": str(ROOT)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://user:secret@127.0.0.1:{port}", "Connection refused"),
        ("postgresql://user:secret@127.0.0.1:{port}/mlflow", "Connection refused"),
        ("sqlite:////no/such/directory/mlflow.db", "the directory must exist"),
        ("sqlite:///mlruns", "unable to open database file"),
        ("sqlite://", "keeps nothing; name a file"),
        ("sqlite:///text", "not a database"),
        ("carrier-pigeon://coop", "unsupported URI"),
        ("./mlruns", "maintenance mode"),
    ],
)
def test_a_store_out_of_reach_is_one_line_soon(
    store: Tracking,
    uri: str,
    reason: str,
    recwarn: pytest.WarningsRecorder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("text").write_text("This is no database, but long enough to look like one to SQLite." * 20)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=reason) as caught:
        Tracking(uri=uri.format(port=_free_port())).check()
    assert time.monotonic() - started < 15
    message = str(caught.value)
    assert message.startswith("tracking.uri: ")
    assert "\n" not in message
    assert "secret" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.full
def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"tracking.uri: .* timed out"):
            Tracking(uri=f"http://127.0.0.1:{silent.getsockname()[1]}").check()
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("bad", ["", " ", None, 5])
def test_uri_and_experiment_must_be_text(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking.uri must be a non-empty text"):
        Tracking(uri=bad)


def test_a_name_that_mlflow_does_not_take_is_the_experiments_fault(store: Tracking) -> None:
    with pytest.raises(ConfigError, match=r"tracking.experiment: .*maximum length"):
        replace(store, experiment="x" * 600).check()


def test_deferred_must_be_true_or_false() -> None:
    with pytest.raises(ConfigError, match=r"tracking.deferred must be true or false \(deferred: 'maybe'\)"):
        Tracking(deferred="maybe")  # type: ignore[arg-type]


@pytest.mark.full
def test_a_store_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    """MLflow makes one by many steps; one that stops between two it refuses for ever."""
    path = tmp_path / "mlflow.db"
    script = f"from pipeline.tracking.tracking import Tracking; Tracking(uri='sqlite:///{path}').check()"
    for after_s in (1.5, 2.5, 3.5, 4.5):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=_environment())
        time.sleep(after_s)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=_environment(), check=True)
    assert MlflowClient(tracking_uri=f"sqlite:///{path}").get_experiment_by_name("carbonedge") is not None
    assert not (tmp_path / "mlflow.db.new").exists()


def test_the_first_use_in_a_fresh_directory_is_silent(tmp_path: Path) -> None:
    script = (
        "import logging; logging.basicConfig(level='INFO')\n"  # as Hydra does
        "import pandas as pd\n"
        "from pipeline.tracking.tracking import Tracking\n"
        "with Tracking().open_run('first', {}, {'seed': 1}) as run:\n"
        "    run.log_metrics({'stages': 2})\n"
        "    run.log_table(pd.DataFrame({'device': ['a']}), 'ledger.json')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=_environment(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlruns"}


def test_nothing_else_in_the_project_imports_mlflow() -> None:
    folders = ("pipeline", "partitioners", "schedulers")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    writers = {p.name for p in sources if re.search(r"^\s*(import|from) mlflow", p.read_text(), re.MULTILINE)}
    assert writers == {"tracking.py", "mlflow_run.py", "mlflow_store.py", "stored.py"}


def test_the_yaml_is_the_default() -> None:
    assert instantiate(OmegaConf.load(ROOT / "conf/tracking/default.yaml")) == Tracking()
