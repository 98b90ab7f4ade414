"""Access to an MLflow store: short timeouts, no noise, one-line errors. Shell."""

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
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.credentials import masked
from pipeline.host.locks import machine_lock
from pipeline.host.sqlite_file import require_plain, sqlite_path
from pipeline.tracking.answer_limits import limit_answers
from pipeline.tracking.patient_client import BAD_REQUEST, one_line, patient, reason

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient
    from sqlalchemy import URL

for name, value in {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",  # see limit_answer
    # Else a server names the host that artifacts are read from and sent to.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}.items():
    os.environ.setdefault(name, value)  # here, as MLflow reads some of them when it is imported

_DATABASE_PORTS = {"sqlite": None, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5
_PAGE = 1000
"""Runs per search request; MLflow's default."""
_MOST_PAGES = 1000
_LONGEST_LIST_S = 600.0
_RETRY_AFTER_S = 15.0
"""Seconds before an unresponsive store is retried."""
_BUSY_S = 90.0
"""Seconds for which work that needs the store waits for a server that answers 503 or the like."""


@contextmanager
def required_client(uri: str, from_env: bool = False) -> Iterator[MlflowClient]:
    """A client for work that needs the store now.

    A server that is busy is waited for. Raises ConfigError about tracking.uri for any error inside the block.
    from_env: whether the URI is from the environment; the message then names the variable.
    """
    try:
        with short_timeouts():
            require_database(uri)
            yield patient(client_of(uri), uri, _BUSY_S)
    except ConfigError:
        raise
    except Exception as error:
        origin = " (from MLFLOW_TRACKING_URI)" if from_env else ""
        message = f"tracking.uri: cannot use {uri!r}{origin}: {reason(error)}"
        if isinstance(error, OSError) and uri.startswith("http"):
            message += "; start the server, or log to a file, as by tracking.uri=sqlite:///mlflow.db"
        raise ConfigError(masked(message)) from error


class UnresponsiveError(Exception):
    """The store did not respond; the work can be retried later."""


_retry_at_s: dict[str, float] = {}
"""Time of the next request to each unresponsive store, by URI, on the monotonic clock."""
_troubles: dict[str, str] = {}
"""Why the last request to an unresponsive store failed, by URI."""


def trouble(uri: str) -> str:
    """Why the last request to a store failed that was unresponsive; empty where none was."""
    return _troubles.get(uri, "")


def retry_now() -> None:
    """Let the next request go to every store, including those that were unresponsive a moment ago."""
    _retry_at_s.clear()


@contextmanager
def optional_client(uri: str) -> Iterator[MlflowClient]:
    """A client for work that can be retried later.

    Raises UnresponsiveError if the store does not respond, and then for _RETRY_AFTER_S without a request;
    MlflowException for a request that the store rejects (BAD_REQUEST).
    """
    from mlflow.exceptions import MlflowException

    if time.monotonic() < _retry_at_s.get(uri, 0.0):
        raise UnresponsiveError(trouble(uri))
    try:
        with short_timeouts():
            yield patient(client_of(uri), uri)
    except (UnresponsiveError, ConfigError):
        raise
    except Exception as error:
        if isinstance(error, MlflowException) and error.error_code in BAD_REQUEST:
            raise
        _retry_at_s[uri] = time.monotonic() + _RETRY_AFTER_S
        _troubles[uri] = reason(error)
        raise UnresponsiveError(_troubles[uri]) from error


@functools.cache
def client_of(uri: str) -> MlflowClient:
    """A client without log lines below errors; imports MLflow, which takes seconds."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its errors are raised as well
    from mlflow.tracking import MlflowClient

    limit_answers()
    _require_plain_file(uri)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Give up a request to an unresponsive server after a few seconds, without log lines.

    MLflow's own defaults retry for minutes. Settings in the environment take precedence.
    """
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_CONNECT_TIMEOUT_S),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # see PatientClient
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
    """Connect to the store's database, if it is one; make a SQLite file that does not exist.

    Raises ConfigError for a SQLite URI without a writable file, and for a file with more than tables; else
    the error of the first connection attempt: MLflow alone would retry for minutes.
    """
    backend = re.split(r"[+:]", uri)[0]
    if backend not in _DATABASE_PORTS:
        return
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if backend == "sqlite":
        require(
            url.database not in (None, "", ":memory:"),
            f"tracking.uri: {masked(uri)!r} keeps nothing; name a file, as in sqlite:///mlflow.db",
        )
        path = Path(url.database or "")
        writable = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
        require(
            writable,
            f"tracking.uri: cannot write {str(path.absolute())!r}: the directory must exist, and file and "
            "directory must be writable",
        )
        _create_sqlite(url)
    if url.host:
        port = url.port or _DATABASE_PORTS[backend]
        socket.create_connection((url.host, port), timeout=_CONNECT_TIMEOUT_S).close()
    _require_plain_file(uri)
    engine = sqlalchemy.create_engine(url)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


def _require_plain_file(uri: str) -> None:
    """Raise ConfigError for a SQLite store whose tables may do more than hold rows, before it is opened."""
    if re.split(r"[+:]", uri)[0] == "sqlite" and (path := sqlite_path("tracking.uri", uri)) is not None:
        require_plain("tracking.uri", path)


def _create_sqlite(url: URL) -> None:
    """Create a SQLite store under a temporary name and rename it: MLflow rejects one that is incomplete."""
    path = Path(url.database or "")
    with machine_lock(str(path.absolute())):
        if path.exists() and path.stat().st_size:
            return
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        # The URL quotes what a folder's name may have, such as % and ?.
        client_of(url.set(database=str(new.absolute())).render_as_string()).search_experiments(max_results=1)
        new.replace(path)


def create_experiment(client: MlflowClient, name: str) -> str:
    """Create an experiment and return its id; if another process has just created it, return that one's.

    Raises ConfigError about tracking.experiment for a name that MLflow rejects.
    """
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


def get_run(client: MlflowClient, key: str, run_id: str) -> Run:
    """A run by its id. Raises ConfigError, naming the key that has the id, if the store has none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        require(not missing, f"{key}: the MLflow store has no run {run_id!r}")
        raise


def whole_id(client: MlflowClient, begin: str) -> str:
    """The id of the only run whose id begins so; the text itself where none does, or it is a whole id.

    Raises ConfigError where several do.
    """
    if re.fullmatch(r"[0-9a-f]{6,31}", begin) is None:
        return begin
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = [run.info.run_id for run in client.search_runs(experiments, f"attributes.run_id LIKE '{begin}%'")]
    require(
        len(found) < 2,
        f"run: {len(found)} runs have an id that begins with {begin!r}: {', '.join(found[:3])}",
    )
    return found[0] if found else begin


def local_artifact(client: MlflowClient, run_id: str, path: str) -> str | None:
    """The file of a run's artifact, relative if it is below the working directory.

    None if it is not on this machine. Raises MlflowException for an unknown run.
    """
    root = urlsplit(str(client.get_run(run_id).info.artifact_uri))
    file = Path(unquote(root.path)) / path
    if root.scheme not in ("", "file") or not file.is_file():
        return None
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def search(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """All runs of an experiment that match a filter, oldest first.

    Raises ConfigError for a server whose pages have no end, or take longer than _LONGEST_LIST_S together.
    """
    token, until = None, time.monotonic() + _LONGEST_LIST_S
    for _ in range(_MOST_PAGES):
        require(time.monotonic() < until, f"tracking.uri: listing its runs takes over {_LONGEST_LIST_S:g} s")
        page = client.search_runs(
            [experiment_id],
            query,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        if not page.token:
            return
        if page.token == token:
            break
        token = page.token
    raise ConfigError(f"tracking.uri: the store's list of runs has no end (limit: {_MOST_PAGES * _PAGE:,})")
