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
CONFIG = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
admin_username = writer
admin_password = the-password-of-writer
auth_cache_ttl_seconds = 60
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def account(name: str, password: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}


WRITER = account("writer", "the-password-of-writer")


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
                for name, value in WRITER.items():
                    monkeypatch.setenv(name, value)
                accounts = get_app_client("basic-auth", tracking_uri=address)
                accounts.create_user("reader", "the-password-of-reader")
                yield address


def test_an_account_that_may_write_sweeps(uri: str, tmp_path: Path) -> None:
    done = carbonedge(tmp_path, "-m", "repeat=0,1", *SIMULATED, f"tracking.uri={uri}", **WRITER)
    assert (done.code, done.errors) == (0, "")
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "carbonedge")
    found = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if b"the-password-of-writer" in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("reader", "the-password-of-reader", "403 (forbidden: this account lacks the permission"),
        ("writer", "the-password-of-before", "401 (unauthorized: set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_an_account_that_may_not_is_told_so(
    uri: str, tmp_path: Path, name: str, password: str, reason: str
) -> None:
    MlflowClient(uri).create_experiment(f"of writer, tried by {name}")
    options = (f"tracking.uri={uri}", f"tracking.experiment='of writer, tried by {name}'")
    done = carbonedge(tmp_path, *SIMULATED, *options, **account(name, password))
    assert done.code == 2
    assert f"it answers {reason}" in done.errors
    assert len(done.errors.splitlines()) == 1
    assert password not in done.output + done.errors
