"""Runs in a real SQLite store: how they begin, end and are resumed, and where they are written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.utils import instantiate
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

from pipeline.domain.checks import ConfigError
from pipeline.tracking.tracking import Tracking
from tests.conftest import ROOT
from tests.tracking.conftest import environment, run, stored


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


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_kills_a_sweep_and_its_trial_in_the_store_too(
    store: Tracking, signum: signal.Signals
) -> None:
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
        [sys.executable, "-c", f"import signal; signal.signal({signum:d}, signal.SIG_DFL)\n{script}"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    run_ids = process.stdout.readline().decode().split()
    process.send_signal(signum)
    _, complaint = process.communicate(timeout=30)
    assert complaint.decode().splitlines()[-1] == f"KeyboardInterrupt: {signum.name}"
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


def test_a_run_that_is_over_is_not_written_into(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    """It became a mixture: params of the one, metrics, tags and plan of the other."""
    over = run(store, "of yesterday")
    monkeypatch.setenv("MLFLOW_RUN_ID", over)
    with pytest.raises(ConfigError, match=f"^MLFLOW_RUN_ID: the run {over} is FINISHED; unset it, or name"):
        run(store)
    assert stored(store, over).info.run_name == "of yesterday"
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    assert run(store) != over
    for unknown in ("999", "none"):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", unknown)
        with pytest.raises(ConfigError, match=f"^MLFLOW_EXPERIMENT_ID: .* has no experiment '{unknown}'"):
            run(store)


def test_mlflow_runs_own_run_goes_where_another_is_gone_on_with(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated `mlflow run` of a sweep left an empty run each time."""
    first = run(store, "sweep")
    project = MlflowClient(tracking_uri=store.uri).create_run("1", run_name="by mlflow run").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", project)
    with store.open_run("sweep", {}, {}, first) as opened:
        assert opened.run_id == first
    left = stored(store, project)
    assert (left.info.lifecycle_stage, left.info.status) == ("deleted", "FINISHED")
    assert left.data.tags["continued_in"] == first


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


def with_model(store: Tracking, plan: str, spec: str = "{}", resumed: str | None = None) -> str:
    with store.open_run("sweep", {}, {}, resumed) as opened:
        opened.log_model(plan, spec)
    return opened.run_id


def test_a_run_that_goes_on_keeps_its_models_version(store: Tracking) -> None:
    own = [with_model(store, plan) for plan in ("{}", "[]")]
    assert [store.register(run_id, "knee") for run_id in (own[0], own[1], own[0])] == ["1", "2", "1"]
    assert store.register(own[0], "other") == "1"


def test_a_model_that_is_the_latest_version_is_not_registered_again(store: Tracking) -> None:
    def versions(*models: str) -> list[str | None]:
        return [store.register(with_model(store, *model.split()), "latest") for model in models]

    assert versions("a", "a", "b", "a", "a other", "a other") == ["1", "1", "2", "3", "4", "4"]


def test_a_version_is_that_of_its_runs_present_model_which_must_be_there(store: Tracking) -> None:
    first = with_model(store, "a")
    assert store.register(first, "present") == "1"
    with_model(store, "b", resumed=first)
    assert store.register(first, "present") == "1"
    assert store.register(with_model(store, "b"), "present") == "1"
    MlflowClient(tracking_uri=store.uri).delete_run(first)
    assert store.register(with_model(store, "b"), "present") == "2"


def test_an_artifact_is_found_by_its_path_or_by_the_command_that_downloads_it(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.open_run("sweep", {}, {}) as opened:
        opened.log_text("{}", "plan.json")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        assert Path(store.found_at(opened.run_id, "plan.json")).read_text() == "{}"
    command = store.found_at(opened.run_id, "none.json").split()
    assert command[0] == f"MLFLOW_TRACKING_URI={store.address}"
    wanted = f"mlflow artifacts download --run-id {opened.run_id} --artifact-path none.json --dst-path ."
    assert command[1:] == wanted.split()
    assert store.found_at("gone", "plan.json").startswith("MLFLOW_TRACKING_URI=")


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
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlruns"}


def test_the_yaml_is_the_default() -> None:
    assert instantiate(OmegaConf.load(ROOT / "conf/tracking/default.yaml")) == Tracking()
