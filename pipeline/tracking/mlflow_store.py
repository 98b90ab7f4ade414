"""How to reach an MLflow store: soon or not at all, in silence, and one line where it cannot be. Shell."""

from __future__ import annotations

import functools
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow.entities
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError, require
from pipeline.host.locks import machine_lock

KIND_TAG = "mlflow.experimentKind"
"""Tells MLflow's UI which pages to lead with: metrics and artifacts, not chats and prompts."""
_DATABASE_PORTS = {"sqlite": None, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5
_PAGE = 1000
"""Runs a request; MLflow's default."""
_SILENT_S = 15.0
"""For so long a store that did not answer is not asked again by those who can wait."""
BAD_REQUEST = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""Errors that asking again does not mend."""


@contextmanager
def reaching(uri: str, from_env: bool = False) -> Iterator[MlflowClient]:
    """A client; whatever goes wrong inside the block becomes a ConfigError about tracking.uri."""
    try:
        with impatient():
            require_database(uri)
            yield client_of(uri)
    except ConfigError:
        raise
    except Exception as error:
        origin = " (from MLFLOW_TRACKING_URI)" if from_env else ""
        message = f"tracking.uri: cannot use {uri!r}{origin}: {one_line(_root(error))}"
        raise ConfigError(re.sub(r"://[^/\s]*@", "://***@", message)) from error


class SilentError(Exception):
    """A store did not answer; what was meant for it can wait."""


_silent_until: dict[str, float] = {}


def ask_again() -> None:
    """Let those who can wait ask at once, also a store that has not answered a moment ago."""
    _silent_until.clear()


@contextmanager
def patient(uri: str) -> Iterator[MlflowClient]:
    """A client for what can wait: raises SilentError, at once where the store has not answered a moment ago.

    A request that the store calls bad raises what MLflow raises.
    """
    from mlflow.exceptions import MlflowException

    if time.monotonic() < _silent_until.get(uri, 0.0):
        raise SilentError(uri)
    try:
        with impatient():
            yield client_of(uri)
    except (SilentError, ConfigError):
        raise
    except Exception as error:
        if isinstance(error, MlflowException) and error.error_code in BAD_REQUEST:
            raise
        _silent_until[uri] = time.monotonic() + _SILENT_S
        raise SilentError(one_line(_root(error))) from error


@functools.cache
def client_of(uri: str) -> MlflowClient:
    """MLflow, which is slow to import, imported and quiet: no progress lines, links or telemetry."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # errors come to us, who tell them
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextmanager
def impatient() -> Iterator[None]:
    """Give up on a dead server after some ten seconds and in silence, unless the environment says otherwise.

    What is under way can wait in the outbox; MLflow alone would ask on for minutes.
    """
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_CONNECT_TIMEOUT_S),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    }
    added = {key: value for key, value in settings.items() if key not in os.environ}
    retries = logging.getLogger("urllib3.connectionpool")
    level = retries.level
    os.environ.update(added)
    retries.setLevel(logging.ERROR)
    try:
        yield
    finally:
        retries.setLevel(level)
        for key in added:
            os.environ.pop(key, None)


def require_database(uri: str) -> None:
    """Raise if a database URI cannot be connected to; MLflow alone would retry for minutes."""
    backend = re.split(r"[+:]", uri)[0]
    if backend not in _DATABASE_PORTS:
        return
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if backend == "sqlite":
        require(
            url.database not in (None, "", ":memory:"),
            f"tracking.uri: {uri!r} keeps nothing; name a file, as in sqlite:///mlflow.db",
        )
        path = Path(url.database or "")
        writable = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
        require(writable, f"tracking.uri: {str(path.absolute())!r} is not in a directory where we may write")
        _make_whole(path)
    if url.host:
        port = url.port or _DATABASE_PORTS[backend]
        socket.create_connection((url.host, port), timeout=_CONNECT_TIMEOUT_S).close()
    engine = sqlalchemy.create_engine(url)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


def _make_whole(path: Path) -> None:
    """Make a new SQLite store under another name: MLflow refuses one that a kill left half made."""
    with machine_lock(str(path.absolute())):
        if path.exists() and path.stat().st_size:
            return
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        client_of(f"sqlite:///{new.absolute()}").search_experiments(max_results=1)
        new.replace(path)


def create_experiment(client: MlflowClient, name: str) -> str:
    """The id of a new experiment, or of that which a process beside this one was quicker to make."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise ConfigError(f"tracking.experiment: {one_line(error)}") from error
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return str(experiment.experiment_id)


def get_run(client: MlflowClient, asker: str, run_id: str) -> mlflow.entities.Run:
    """A run by its id; ConfigError naming the asker where the store has none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        require(not missing, f"{asker}: the MLflow store has no run {run_id!r}")
        raise


def search(client: MlflowClient, experiment_id: str, query: str) -> Iterator[mlflow.entities.Run]:
    """All runs that a filter finds in an experiment, oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            query,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _root(error: BaseException) -> BaseException:
    """The system's own word, such as "Connection refused", where one lies below layers of retries."""
    root = cause = error
    while (below := cause.__cause__ or cause.__context__) is not None:
        cause = below
        if isinstance(cause, TimeoutError) or (isinstance(cause, OSError) and cause.strerror):
            root = cause
    return root


def one_line(error: BaseException) -> str:
    """An error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
