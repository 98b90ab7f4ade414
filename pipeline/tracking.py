"""The only file that writes to MLflow and reads from it. Shell."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.domain import ConfigError, require
from pipeline.metric_table import metric

if TYPE_CHECKING:
    import matplotlib.figure
    import mlflow.entities
    from mlflow.tracking import MlflowClient
    from plotly.basedatatypes import BaseFigure

# --- what is written ------------------------------------------------------------------------------


SHOWN_ROWS = 20_000
"""Of a table that the UI shows; a simulation may record millions."""


@dataclass(frozen=True)
class Run:
    """An open run: everything written to MLflow goes through one of these methods."""

    run_id: str
    client: MlflowClient = field(repr=False)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Write metrics in one batch, leaving out those that are not known: None, NaN and infinite ones."""
        from mlflow.entities import Metric as Point

        now_ms = int(time.time() * 1000)
        points = []
        for key, value in metrics.items():
            metric(key)
            if value is not None and math.isfinite(value):
                points.append(Point(key, float(value), now_ms, step or 0))
        self.client.log_batch(self.run_id, metrics=points)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write params as text. One that the run already has stays: MLflow's params cannot change, and
        `mlflow run` has logged those of its entry point."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        fresh = [Param(key, str(value)) for key, value in params.items() if key not in known]
        self.client.log_batch(self.run_id, params=fresh)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags, over old ones of the same names."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_table(self, table: pd.DataFrame, path: str, *, exact: bool = False) -> None:
        """Write a table (without its index) that the UI shows as one, to ten decimals; path ends in .json.

        A table of more than SHOWN_ROWS goes into a Parquet file of that name instead; an exact one, of
        which every digit counts, into both.
        """
        if table.empty:  # which MLflow would take for pictures
            self.log_text(table.to_json(orient="split", index=False), path)
            return
        if len(table) <= SHOWN_ROWS:
            self.client.log_table(self.run_id, table, path)
            if not exact:
                return
        with tempfile.TemporaryDirectory() as folder:
            file = (Path(folder) / path).with_suffix(".parquet")
            table.to_parquet(file, index=False)
            self.client.log_artifact(self.run_id, str(file))

    def log_text(self, text: str, path: str) -> None:
        """Write a text file."""
        self.client.log_text(self.run_id, text, path)

    def log_figure(self, figure: BaseFigure | matplotlib.figure.Figure, path: str) -> None:
        """Write a figure: plotly's as .html, its script inside (5 MB) to open offline; matplotlib's .png."""
        options = {"include_plotlyjs": True} if path.endswith(".html") else {"dpi": 160}
        self.client.log_figure(self.run_id, figure, path, save_kwargs=options)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


# --- what is read back ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A run as the store has it."""

    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    client: MlflowClient = field(repr=False)

    def has(self, path: str) -> bool:
        """Whether the run has a file of that name."""
        return path in {each.path for each in self.client.list_artifacts(self.run_id)}

    def text(self, path: str) -> str:
        """A text file of the run; ConfigError naming run and file where it has none."""
        with tempfile.TemporaryDirectory() as folder:
            return self._file(path, folder).read_text()

    def table(self, path: str) -> pd.DataFrame:
        """A table that `Run.log_table` wrote; ConfigError where the run has none of that name."""
        with tempfile.TemporaryDirectory() as folder:
            exact = str(Path(path).with_suffix(".parquet"))
            if self.has(exact):
                return pd.read_parquet(self._file(exact, folder))
            return pd.read_json(self._file(path, folder), orient="split", convert_dates=False)

    def _file(self, path: str, folder: str) -> Path:
        require(self.has(path), f"run {self.run_id} ({self.name}): has no {path} (it is {self.status})")
        return Path(self.client.download_artifacts(self.run_id, path, folder))


# --- where it is written --------------------------------------------------------------------------


@dataclass(frozen=True)
class Tracking:
    """Where runs are written. MLflow's environment variables, as `mlflow run` sets them, win."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "carbonedge"
    parent_run_id: str | None = None
    """The sweep of which new runs are trials. Without one, a run that `mlflow run` opened is resumed."""

    def __post_init__(self) -> None:
        for name in ("uri", "experiment"):
            value = getattr(self, name)
            require(
                isinstance(value, str) and value.strip() != "",
                f"tracking.{name} must be a text ({name}: {value!r})",
            )

    def check(self) -> None:
        """Reach the store, and create it and the experiment where new; ConfigError where that fails."""
        with self._reaching() as client:
            experiment_id = self._experiment_id(client)
            if KIND_TAG not in client.get_experiment(experiment_id).tags:
                client.set_experiment_tag(experiment_id, KIND_TAG, "custom_model_development")

    def reach(self) -> None:
        """Reach a store that is there already, and create nothing; ConfigError where there is none."""
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self.uri
        path = Path(uri.removeprefix("sqlite:///"))
        require(
            not uri.startswith("sqlite:///") or path.is_file(),
            f"tracking.uri: there is no store {uri!r}; name the one that has the run",
        )

    def ui_command(self) -> str:
        """How to look at the results."""
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self.uri
        return f"open {uri}" if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"

    @contextmanager
    def open_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[Run]:
        """A run that is RUNNING inside the block, then FINISHED; FAILED on an error, KILLED on an interrupt.

        The error goes on to the caller; its one-line reason stays in the run's tag `failure`. In the
        main thread, SIGTERM is an interrupt (KeyboardInterrupt) like Ctrl-C while the block lasts.
        """
        with _sigterm_interrupts():
            run = self._start(name)
            try:
                run.set_tags(tags)
                run.log_params(params)
                yield run
                run.end("FINISHED")
            except BaseException as error:
                with suppress(Exception):  # a store that fails now must not hide why we are here
                    run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                    run.set_tags({"failure": _one_line(error)})
                raise

    def stored(self, run_id: str) -> Stored:
        """A run by its id; ConfigError where the store has none."""
        with self._reaching() as client:
            found = _get_run(client, "run", run_id)
            return Stored(
                run_id, found.info.run_name, found.info.status, found.data.metrics, found.data.params,
                found.data.tags, client,
            )  # fmt: skip

    def tag_front(self, parent_run_id: str, run_ids: Collection[str], tag: str = "pareto") -> None:
        """Set pareto=true (or another tag) on these trials of a sweep, and remove it from its others."""
        with self._reaching() as client:
            experiment_id = _get_run(client, "tag_front", parent_run_id).info.experiment_id
        query = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and tags.{tag} = 'true'"
        tagged = {run.info.run_id for run in _search(client, experiment_id, query)}
        for run_id in tagged - set(run_ids):
            client.delete_tag(run_id, tag)
        for run_id in set(run_ids) - tagged:
            client.set_tag(run_id, tag, "true")

    def children(self, parent_run_id: str) -> pd.DataFrame:
        """The trials of a sweep, oldest first: run_id, name, status, metrics.*, params.* and tags.*."""
        with self._reaching() as client:
            experiment_id = _get_run(client, "children", parent_run_id).info.experiment_id
        query = f"tags.`mlflow.parentRunId` = '{parent_run_id}'"
        rows = [
            {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
            | {f"metrics.{key}": value for key, value in run.data.metrics.items()}
            | {f"params.{key}": value for key, value in run.data.params.items()}
            | {f"tags.{key}": value for key, value in run.data.tags.items()}
            for run in _search(client, experiment_id, query)
        ]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["run_id", "name", "status"])

    def _start(self, name: str) -> Run:
        with self._reaching() as client:
            resumed = os.environ.get("MLFLOW_RUN_ID")
            if self.parent_run_id is None and resumed:
                _get_run(client, "MLFLOW_RUN_ID", resumed)
                client.update_run(resumed, status="RUNNING", name=name)
                return Run(resumed, client)
            from mlflow.tracking.context.registry import resolve_tags  # user, source, git commit

            tags = resolve_tags()
            if self.parent_run_id is None:
                experiment_id = self._experiment_id(client)
            else:
                tags["mlflow.parentRunId"] = self.parent_run_id
                parent = _get_run(client, "tracking.parent_run_id", self.parent_run_id)
                experiment_id = parent.info.experiment_id
            return Run(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id, client)

    def _experiment_id(self, client: MlflowClient) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.experiment
        if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            experiment = client.get_experiment(experiment_id)
        elif (found := client.get_experiment_by_name(name)) is not None:
            experiment = found
        else:
            return _create_experiment(client, name)
        require(
            experiment.lifecycle_stage == "active",
            f"tracking.experiment: {experiment.name!r} is deleted; name another one, or restore it by "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}",
        )
        return str(experiment.experiment_id)

    @contextmanager
    def _reaching(self) -> Iterator[MlflowClient]:
        """A client; whatever goes wrong inside the block becomes a ConfigError about tracking.uri."""
        from_env = os.environ.get("MLFLOW_TRACKING_URI")
        uri = from_env or self.uri
        try:
            with _impatient():
                _require_database(uri)
                yield _client(uri)
        except ConfigError:
            raise
        except Exception as error:
            origin = " (from MLFLOW_TRACKING_URI)" if from_env else ""
            message = f"tracking.uri: cannot use {uri!r}{origin}: {_one_line(_root(error))}"
            raise ConfigError(re.sub(r"://[^/\s]*@", "://***@", message)) from error


KIND_TAG = "mlflow.experimentKind"
"""Tells MLflow's UI which pages to lead with: metrics and artifacts, not chats and prompts."""

_DATABASE_PORTS = {"sqlite": None, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5
_PAGE = 1000
"""Runs a request; MLflow's default."""


def _client(uri: str) -> MlflowClient:
    """MLflow, which is slow to import, imported and quiet: no progress lines, links or telemetry."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a dead server after some ten seconds and in silence, unless the environment says otherwise.

    Only while connecting: a run that is under way has MLflow's own minutes of patience.
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


def _require_database(uri: str) -> None:
    """Raise if a database URI cannot be connected to; MLflow alone would retry for minutes."""
    backend = re.split(r"[+:]", uri)[0]
    if backend not in _DATABASE_PORTS:
        return
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if backend == "sqlite" and url.database:
        path = Path(url.database)
        writable = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
        require(writable, f"tracking.uri: {str(path.absolute())!r} is not in a directory where we may write")
    if url.host:
        port = url.port or _DATABASE_PORTS[backend]
        socket.create_connection((url.host, port), timeout=_CONNECT_TIMEOUT_S).close()
    engine = sqlalchemy.create_engine(url)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


def _create_experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name))
    except MlflowException:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return str(experiment.experiment_id)  # a process beside this one was quicker


def _get_run(client: MlflowClient, asker: str, run_id: str) -> mlflow.entities.Run:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        require(not missing, f"{asker}: the MLflow store has no run {run_id!r}")
        raise


def _search(client: MlflowClient, experiment_id: str, query: str) -> Iterator[mlflow.entities.Run]:
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


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, once: a second one must not stop the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(signum: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked worker dies as it would have
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        signal.signal(signum, signal.SIG_IGN)
        raise KeyboardInterrupt("SIGTERM")

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
