"""Stores that cannot be used: one line, soon, without noise."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError
from pipeline.tracking.mlflow_store import client_of, optional_client
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, environment


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
    Path("mlruns").mkdir(exist_ok=True)
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


@pytest.mark.parametrize("folder", ["feature%2Fcut", "a?b", "h#x y", "50%"])
def test_a_folder_may_have_any_name(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    for uri in ("sqlite:///mlflow.db", f"sqlite:///{quote(str(tmp_path / folder / 'other.db'))}"):
        tracking = Tracking(uri)
        tracking.check()
        with tracking.open_run("trial", {}, {}) as run:
            run.log_text("kept", "a.txt")
        tracking.reach()
        assert artifact(tracking, run.run_id, "a.txt") == b"kept"
    # MLflow itself reads %2F in the place of its artifacts as a slash.
    assert {path.name for path in (tmp_path / folder).glob("*.db*")} == {"mlflow.db", "other.db"}


def test_a_run_is_that_of_a_study_which_its_tag_names(store: Tracking) -> None:
    """A study's file may name any run of the store."""
    with store.open_run("sweep", {"study": "mine"}, {}) as run:
        pass
    assert store.has(run.run_id, "mine")
    assert not store.has(run.run_id, "another")
    assert not store.has("0" * 32, "mine")


def test_a_name_holds_no_password(store: Tracking) -> None:
    """`reaccount` names its run after what was asked for."""
    with store.open_run("mine · grid.url=https://me:hunter2@h", {}, {}) as run:
        pass
    assert store.stored(run.run_id).name == "mine · grid.url=https://***@h"


def test_a_store_is_checked_before_what_waits_is_sent(store: Tracking) -> None:
    """Each command's first opening of a file checks it: `sync` opens it another way than a run does."""
    with sqlite3.connect("mlflow.db") as database:
        database.execute("create trigger t after insert on metrics begin update metrics set value = -5; end")
    client_of.cache_clear()
    with pytest.raises(ConfigError, match="the trigger t$"), optional_client(store.address):
        pass
    with sqlite3.connect("mlflow.db") as database:
        database.execute("drop trigger t")


def test_a_file_with_more_than_tables_is_no_store(store: Tracking) -> None:
    """A view of somebody else's file may never end, or take all memory."""
    endless = "with recursive t(n) as (select 1 union all select n from t) select n from t"
    with sqlite3.connect("mlflow.db") as database:
        database.execute("drop table tags")
        database.execute(f"create view tags as {endless}")
    with pytest.raises(
        ConfigError,
        match=r"^tracking.uri: .*mlflow.db must hold the tables of MLflow or Optuna only, .* the view tags$",
    ):
        store.stored("0" * 32)


@pytest.mark.full
def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"tracking.uri: .* timed out"):
            Tracking(uri=f"http://127.0.0.1:{silent.getsockname()[1]}").check()
        assert time.monotonic() - started < 15


@pytest.mark.full
def test_a_store_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    """MLflow creates a store in many steps, and rejects one whose creation stopped between two of them."""
    path = tmp_path / "mlflow.db"
    script = f"from pipeline.tracking.tracking import Tracking; Tracking(uri='sqlite:///{path}').check()"
    for after_s in (1.5, 2.5, 3.5, 4.5):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment())
        time.sleep(after_s)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), check=True)
    assert MlflowClient(tracking_uri=f"sqlite:///{path}").get_experiment_by_name("carbonedge") is not None
    assert not (tmp_path / "mlflow.db.new").exists()
