"""MLflow with accounts, on PostgreSQL: one may write, one may only read, and one is unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.server import get_app_client
from mlflow.tracking import MlflowClient

from tests.commands.conftest import SIMULATED, carbonedge
from tests.mlflow_server import free_port, server
from tests.postgres import postgres

pytestmark = pytest.mark.full
ACCOUNTS = {"writer": "the-password-of-writer", "reader": "the-password-of-reader"}
CONFIG = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
admin_username = writer
admin_password = the-password-of-writer
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def log_in(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    config = folder / "accounts.ini"
    config.write_text(CONFIG.format(folder=folder))
    variables = {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "key"}
    with postgres() as store:
        options = ("--backend-store-uri", store.url, "--app-name", "basic-auth")
        with server(folder, port, *options, variables=variables):
            address = f"http://127.0.0.1:{port}"
            with pytest.MonkeyPatch.context() as monkeypatch:
                log_in(monkeypatch, "writer", ACCOUNTS["writer"])
                get_app_client("basic-auth", tracking_uri=address).create_user("reader", ACCOUNTS["reader"])
            yield address


def test_an_account_that_may_write_sweeps(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "writer", ACCOUNTS["writer"])
    done = carbonedge(tmp_path, "-m", "repeat=0,1", *SIMULATED, f"tracking.uri={uri}")
    assert (done.code, done.errors) == (0, "")
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "carbonedge")
    found = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if ACCOUNTS["writer"].encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("reader", ACCOUNTS["reader"], "it answers 403 (forbidden: this account lacks the permission"),
        ("writer", "the-password-of-before", "it answers 401 (unauthorized: set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_an_account_that_may_not_is_told_so(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, password: str, reason: str
) -> None:
    log_in(monkeypatch, "writer", ACCOUNTS["writer"])
    MlflowClient(uri).create_experiment(f"of writer, tried by {name}")
    log_in(monkeypatch, name, password)
    options = (f"tracking.uri={uri}", f"tracking.experiment='of writer, tried by {name}'")
    done = carbonedge(tmp_path, *SIMULATED, *options)
    assert done.code == 2
    assert reason in done.errors
    assert len(done.errors.splitlines()) == 1
    assert password not in done.output + done.errors
