"""A real MLflow server behind a proxy at which requests fail: patience, true reasons, nothing twice."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.commands.sync import sync
from pipeline.domain.checks import ConfigError
from pipeline.tracking import mlflow_store, patient_client
from pipeline.tracking.tracking import Tracking
from tests.faulty_proxy import Proxy, proxy
from tests.mlflow_server import free_port, server
from tests.tracking.conftest import ENVIRONMENT, run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    port = free_port()
    with server(tmp_path_factory.mktemp("server"), port), proxy(port) as running:
        Tracking(uri=running.uri).check()
        yield running


@pytest.fixture
def tracking(served: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracking]:
    """The server's store, from a fresh working directory; no request fails yet."""
    monkeypatch.chdir(tmp_path)
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    monkeypatch.setattr(patient_client, "PAUSES_S", (0.01, 0.01))
    mlflow_store.retry_now()
    mlflow_store._troubles.clear()
    yield Tracking(uri=served.uri, experiment=tmp_path.name)
    served.fail(-1, "")


def found(tracking: Tracking, served: Proxy) -> list[str]:
    """The names of the experiment's runs."""
    client = MlflowClient(f"http://127.0.0.1:{served.port}")
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    return [each.info.run_name for each in client.search_runs([experiment.experiment_id])]


REASONS = [
    ("401", r"it answers 401 \(unauthorized: set MLFLOW_TRACKING_USERNAME"),
    ("403", r"it answers 403 \(forbidden: this account lacks"),
    ("413", r"it answers 413 \(too large: raise the limit"),
    ("500", r"it answers 500 \(the log of the server"),
]


@pytest.mark.full
@pytest.mark.parametrize(("fault", "words"), REASONS)
def test_the_reason_is_told_at_the_start(tracking: Tracking, served: Proxy, fault: str, words: str) -> None:
    served.choose = lambda number, request: fault
    with pytest.raises(ConfigError, match=words) as caught:
        tracking.check()
    assert str(caught.value).startswith("tracking.uri: cannot use ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fault", "words"), REASONS)
def test_the_reason_is_told_of_what_waits(
    tracking: Tracking, served: Proxy, fault: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where an upload is refused, or a password expires while a sweep runs."""
    tracking.check()
    with tracking.open_run("refused", {}, {}) as opened:
        opened.log_text("text", "notes.txt")
        served.choose = lambda number, request: fault
    farewell = tracking.farewell()
    assert "1 runs are pending in outbox, as the store is unresponsive (" in farewell
    assert re.search(words, farewell)
    with pytest.raises(SystemExit) as ended:
        sync([], [f"tracking.uri={tracking.uri}"])
    assert ended.value.code == 1
    assert re.search(words, capsys.readouterr().out)
    served.fail(-1, "")
    assert tracking.sync() == (1, 0, 0, 0)


@pytest.mark.parametrize("fault", ["401", "403"])
def test_an_account_that_may_only_read_is_told_at_the_start(
    tracking: Tracking, served: Proxy, fault: str
) -> None:
    """The experiment is found, and only the run cannot be made; one such answer alone is no reason."""
    tracking.check()
    refused = 0

    def choose(number: int, request: str) -> str:
        nonlocal refused
        refused += "runs/create" in request
        return fault if "runs/create" in request and refused < most else ""

    served.choose, most = choose, 1000
    with (
        pytest.raises(ConfigError, match=f"tracking.uri: cannot use .*: it answers {fault}"),
        tracking.open_run("refused", {}, {}),
    ):
        pass
    assert [*Path("outbox").rglob("run.json")] == []
    mlflow_store.retry_now()
    refused, most = 0, 2
    run(tracking, "once")
    assert found(tracking, served) == ["once"]


def test_a_busy_server_is_waited_for_with_a_line(
    tracking: Tracking, served: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patient_client, "BUSY_PAUSE_S", 0.1)
    until = time.monotonic() + 2
    served.choose = lambda number, request: "503" if time.monotonic() < until else ""
    tracking.check()
    assert time.monotonic() > until
    assert [record.message.startswith(f"waiting for {served.uri}: ") for record in caplog.records] == [True]


def test_a_server_that_is_busy_too_long_is_given_up(
    tracking: Tracking, served: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_client, "BUSY_PAUSE_S", 0.1)
    monkeypatch.setattr(mlflow_store, "_BUSY_S", 0.5)
    served.choose = lambda number, request: "503"
    with pytest.raises(ConfigError, match="it answers 503"):
        tracking.check()


def test_what_only_dresses_the_page_stops_nothing(tracking: Tracking, served: Proxy) -> None:
    served.choose = lambda number, request: "500" if "set-experiment-tag" in request else ""
    tracking.check()
    assert "set-experiment-tag" in served.failed


@pytest.mark.parametrize("fault", ["lost", "cut"])
def test_a_lost_answer_makes_no_second_run(tracking: Tracking, served: Proxy, fault: str) -> None:
    tracking.check()
    failed = 0

    def choose(number: int, request: str) -> str:
        nonlocal failed
        failed += "runs/create" in request
        return fault if "runs/create" in request and failed == 1 else ""

    served.choose = choose
    run(tracking, "once")
    assert failed == 1
    assert found(tracking, served) == ["once"]


def test_a_lost_answer_of_a_server_that_then_goes_away_makes_no_second_run(
    tracking: Tracking, served: Proxy
) -> None:
    tracking.check()
    gone = False

    def choose(number: int, request: str) -> str:
        nonlocal gone
        before, gone = gone, gone or "runs/create" in request
        return "500" if before else "lost" if gone else ""

    parent = run(tracking, "sweep")
    trial = replace(tracking, parent_run_id=parent)
    run(trial, "first")  # so that the sweep's experiment is known
    served.choose = choose
    run(trial, "second")
    assert "1 runs are pending" in tracking.farewell()
    served.fail(-1, "")
    assert tracking.sync() == (1, 0, 0, 0)
    assert sorted(found(tracking, served)) == ["first", "second", "sweep"]


def test_trials_need_no_server_once_their_sweep_is_open(tracking: Tracking, served: Proxy) -> None:
    tracking.check()
    with tracking.open_run("sweep", {}, {}) as sweep:
        served.choose = lambda number, request: "500"
        for number in range(3):
            trial = replace(tracking, parent_run_id=sweep.run_id, trial=number)
            ended = run(trial, f"trial {number}")
            trial.deliver([ended])
    served.fail(-1, "")
    assert tracking.sync() == (4, 0, 0, 0)
    assert sorted(found(tracking, served)) == ["sweep", "trial 0", "trial 1", "trial 2"]


def test_a_model_is_registered_when_the_store_is_back(tracking: Tracking, served: Proxy) -> None:
    tracking.check()
    with tracking.open_run("with a model", {}, {}) as opened:
        opened.log_model("{}", "{}")
    served.choose = lambda number, request: "500"
    assert tracking.register(opened.run_id, tracking.experiment) is None
    served.fail(-1, "")
    assert tracking.sync() == (1, 0, 0, 0)
    client = MlflowClient(tracking.uri)
    (version,) = client.search_model_versions(f"run_id = '{opened.run_id}'")
    assert version.name == tracking.experiment
    assert tracking.register(opened.run_id, tracking.experiment) == str(version.version)


def test_tags_that_wait_are_as_if_they_had_not(tracking: Tracking, served: Proxy) -> None:
    tracking.check()
    parent = run(tracking, "sweep")
    trial = replace(tracking, parent_run_id=parent)
    best, was, never = (run(trial, name) for name in ("best", "was", "never"))
    tracking.tag_front(parent, [was], [best, never])
    served.choose = lambda number, request: "500"
    tracking.tag_front(parent, [best], [was, never])
    served.fail(-1, "")
    tracking.sync()
    tags = [
        MlflowClient(tracking.uri).get_run(run_id).data.tags.get("pareto") for run_id in (best, was, never)
    ]
    assert tags == ["true", None, None]


def test_an_answer_without_an_id_is_asked_for_again(tracking: Tracking, served: Proxy) -> None:
    """As of a proxy that answers {} with status 200."""
    tracking.check()
    failed: list[str] = []

    def choose(number: int, request: str) -> str:
        asked = request.endswith(("runs/create", "runs/get", "experiments/get-by-name", "experiments/get"))
        if not asked or request in failed:
            return ""
        failed.append(request)
        return "{}"

    served.choose = choose
    run(replace(tracking, parent_run_id=run(tracking, "sweep")), "trial")
    assert {request.rpartition("/")[2] for request in failed} >= {"create", "get-by-name"}
    served.fail(-1, "")
    assert sorted(found(tracking, served)) == ["sweep", "trial"]


def test_a_server_may_not_name_a_folder_of_this_machine(
    tracking: Tracking, served: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home"
    name = f"{tracking.experiment} elsewhere"
    MlflowClient(served.uri).create_experiment(name, artifact_location=str(folder))
    named = replace(tracking, experiment=name)
    with pytest.raises(ConfigError, match=r"names a folder of this machine for its artifacts .*home"):
        named.check()
    monkeypatch.setenv("CARBONEDGE_ARTIFACT_FOLDER", str(tmp_path))
    named.check()
    with named.open_run("allowed", {}, {}) as opened:
        opened.log_text("text", "notes.txt")
    assert [path.read_text() for path in folder.rglob("notes.txt")] == ["text"]


def test_an_experiment_may_be_called_503(tracking: Tracking, served: Proxy) -> None:
    named = replace(tracking, experiment="503")
    named.check()
    run(named, "failed with error code 401 ")
    assert found(named, served) == ["failed with error code 401 "]


def test_a_server_that_drips_is_given_up(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the answer never ends."""
    monkeypatch.setattr(patient_client, "ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as dripping:

        def drip() -> None:
            connection, _ = dripping.accept()
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            for _ in range(20):
                time.sleep(0.2)
                connection.sendall(b" ")
            connection.close()

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(ConfigError, match="no whole answer within 1 s"):
            Tracking(uri=f"http://127.0.0.1:{dripping.getsockname()[1]}").check()
