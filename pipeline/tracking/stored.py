"""Runs that an MLflow store has: read back, found for a sweep, and tagged. Shell."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pandas as pd
from yaml import YAMLError

from pipeline.domain.checks import ConfigError, require, size_text
from pipeline.domain.credentials import masked, require_maskable
from pipeline.domain.plain_yaml import parsed
from pipeline.domain.printable import all_printable, printable
from pipeline.host.data_file import (
    MOST_BYTES,
    MOST_TEXT_BYTES,
    content,
    parquet_table,
    require_few_columns,
)
from pipeline.host.processes import this_process
from pipeline.results.metric_values import COUNTS, require_metric, require_metrics
from pipeline.tracking.entry import PARENT_TAG, Entry
from pipeline.tracking.mlflow_store import (
    UnresponsiveError,
    get_run,
    optional_client,
    required_client,
    search,
    whole_id,
)
from pipeline.tracking.outbox import KEY_TAG, REQUEST_TAG, Outbox, now_ms
from pipeline.tracking.patient_client import one_line, reason
from pipeline.tracking.ui_pages import LOCAL_UI, run_page

UNREADABLE = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, YAMLError,
)  # fmt: skip
"""What the use of an artifact may raise that is of another version, or anybody's."""
PARAM_NAME = r"\w[\w.@ -]{0,199}"
"""Names of params that this project logs: keys of the config, and others like them."""
MOST_CONFIG_BYTES = 20_000_000
"""Largest config of a run: that of a fleet of 13,000 devices has 5 MB."""
MOST_TABLE_BYTES = 50_000_000
"""Largest table in JSON, of at most 20,000 rows (more are Parquet): 100 columns of 25 bytes."""
MOST_LISTS = 500_000
"""Most lists and mappings of an artifact in JSON: an empty one has 3 bytes in the file, and takes 60."""

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Stored:
    """A run in the store, with access to its artifacts."""

    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    client: MlflowClient = field(repr=False)

    def has(self, path: str) -> bool:
        """Whether the run has an artifact of that name. Raises ConfigError if the store does not say so."""
        return path in self._sizes(path)

    def has_table(self, path: str) -> bool:
        """Whether the run has a table that `Run.log_table` wrote. Raises ConfigError as `has`."""
        return self.has(path) or self.has(_large(path))

    def json(self, path: str) -> dict[str, Any]:
        """The content of a JSON artifact. Raises ConfigError if it is missing, large or cannot be read."""
        with self._file(path) as file:
            return dict(all_printable(_json(file, MOST_TEXT_BYTES)))

    def config(self, path: str) -> dict[str, Any]:
        """A config that the run logged, as plain values.

        Raises ConfigError if it is missing or cannot be read.
        """
        with self._file(path) as file:
            config = parsed(content(file, MOST_CONFIG_BYTES).read().decode())
            return {key: all_printable(value) for key, value in config.items()}

    def table(self, path: str) -> pd.DataFrame:
        """A table that `Run.log_table` wrote, with the columns that it had when logged.

        Raises ConfigError if it is missing, large or cannot be read.
        """
        large = _large(path)
        with self._file(large if self.has(large) else path) as file:
            if file.suffix == ".parquet":
                found = parquet_table(file, MOST_BYTES)
            else:
                found = _table(_json(file, MOST_TABLE_BYTES))
            for column in found.select_dtypes(exclude="number"):
                found[column] = found[column].map(all_printable)
            return found.rename(columns=all_printable)

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Raises ConfigError naming run and artifact for an error in the block, which makes use of it."""
        try:
            yield
        except UNREADABLE as error:
            if str(error).startswith(self.owner):
                raise
            raise ConfigError(f"{self.owner}: its {path} cannot be read: {one_line(error)}") from error

    @property
    def owner(self) -> str:
        """The run's id and name, as errors begin."""
        return f"run {self.run_id} ({self.name})"

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        """A downloaded artifact, deleted after the block."""
        sizes = self._sizes(path)
        require(path in sizes, f"{self.owner}: has no {path} (its status is {self.status})")
        size, most = sizes[path], size_text(MOST_BYTES)
        require(
            size <= MOST_BYTES, f"{self.owner}: its {path} has {size_text(size)}, and at most {most} are read"
        )
        with tempfile.TemporaryDirectory() as folder:
            with self._fetching(path):
                file = Path(self.client.download_artifacts(self.run_id, path, folder))
            with self.reading(path):
                yield file

    def _sizes(self, path: str) -> dict[str, int]:
        """The bytes of each file among the run's artifacts; path: the one that is looked for."""
        with self._fetching(path):
            found = self.client.list_artifacts(self.run_id)
            return {each.path: each.file_size or 0 for each in found if not each.is_dir}

    @contextmanager
    def _fetching(self, path: str) -> Iterator[None]:
        """Raises ConfigError naming run and artifact for an error of the store in the block."""
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:  # each store and its libraries have their own
            raise ConfigError(f"{self.owner}: its {path} cannot be fetched: {reason(error)}") from error

    @property
    def copied_params(self) -> dict[str, str]:
        """The params with names that MLflow takes: somebody else's store may have others."""
        return {key: value for key, value in self.params.items() if re.fullmatch(PARAM_NAME, key)}

    def figures(self, needed: Iterable[str] = ()) -> Mapping[str, float]:
        """The run's metrics, checked; a needed count is divided by: it is at least 1.

        Raises ConfigError naming the metrics that the run lacks, or the first that cannot have its value.
        """
        missing = [key for key in needed if key not in self.metrics]
        require(not missing, f"{self.owner}: without the metric {', '.join(missing)}")
        for key in COUNTS.intersection(needed):
            require_metric(self.owner, key, self.metrics[key], least=1)
        require_metrics(self.owner, self.metrics)
        return self.metrics


@dataclass(frozen=True)
class StoredRuns:
    """The runs of a store. MLflow's environment variables, which `mlflow run` sets, take precedence.

    Methods raise ConfigError if the store cannot be reached, or does not have the run or sweep; some tolerate
    an unresponsive store, as their docstrings state. The constructor raises ConfigError for a value that is
    not a non-empty text.
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "carbonedge"
    outbox: str = "outbox"
    """Folder of pending runs, which the store does not have yet."""

    def __post_init__(self) -> None:
        for name in ("uri", "experiment", "outbox"):
            value = getattr(self, name)
            require(
                isinstance(value, str) and value.strip() != "",
                f"tracking.{name} must be a non-empty text ({name}: {value!r})",
            )
        require_maskable("tracking.uri", self.address)

    @property
    def address(self) -> str:
        """The store's URI, that of MLflow's environment variable if it is set."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.uri

    @property
    def _outbox(self) -> Outbox:
        return Outbox(Path(self.outbox), self.address)

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        with required_client(self.address, "MLFLOW_TRACKING_URI" in os.environ) as client:
            yield client

    def ui_command(self, page: str = "") -> str:
        """The command, or the address, that shows the results; page: of MLflow's UI (`ui_pages`)."""
        uri = masked(self.address)
        if uri.startswith("http"):
            return f"open {uri.rstrip('/')}/{page}" if page else f"open {uri}"
        then = f"\nthen open {LOCAL_UI}/{page}" if page else ""
        return f"mlflow ui --backend-store-uri {uri}{then}"

    def reach(self) -> None:
        """Raise ConfigError if the store is a SQLite file that does not exist; none is created."""
        path = Path(unquote(self.address.removeprefix("sqlite:///").partition("?")[0]))
        require(
            not self.address.startswith("sqlite:///") or path.is_file(),
            f"tracking.uri: there is no store {masked(self.address)!r}; name the one that has the run",
        )

    def stored(self, run_id: str) -> Stored:
        """A run by its id, or by the begin of one, such as figures show, where it is unique."""
        with self._client() as client:
            run_id = whole_id(client, run_id)
            run = get_run(client, "run", run_id)
            params, tags = (all_printable({**texts}) for texts in (run.data.params, run.data.tags))
            name, metrics = printable(run.info.run_name), run.data.metrics
            return Stored(run_id, name, run.info.status, metrics, params, tags, client)

    def steps(self, run_id: str, key: str) -> set[int]:
        """The steps at which a run has a value of a metric."""
        with self._client() as client:
            return {point.step for point in client.get_metric_history(run_id, key)}

    def sweeps(self, experiment: str) -> list[Stored]:
        """The finished sweeps of an experiment, oldest first. Raises ConfigError if the store lacks it."""
        with self._client() as client:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise ConfigError(f"experiment: the MLflow store has none named {experiment!r}")
            query = "tags.sweep != '' and attributes.status = 'FINISHED'"
            return [self.stored(run.info.run_id) for run in search(client, found.experiment_id, query)]

    def children(self, parent_run_id: str) -> pd.DataFrame:
        """The trials of a sweep, oldest first.

        Columns: run_id, name, status; then metrics.<key>, params.<key> and tags.<key> for each key that any
        trial has, empty for trials without it.
        """
        with self._client() as client:
            found = [*trials(client, "children", parent_run_id)]
        rows = [
            {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
            | {f"metrics.{key}": value for key, value in run.data.metrics.items()}
            | {f"params.{key}": value for key, value in run.data.params.items()}
            | {f"tags.{key}": value for key, value in run.data.tags.items()}
            for run in found
        ]
        return (
            pd.DataFrame(all_printable(rows)) if rows else pd.DataFrame(columns=["run_id", "name", "status"])
        )

    def ids(self, parent_run_id: str) -> dict[str, str]:
        """MLflow's run id by outbox id, for the trials of a sweep that MLflow did not have when they began.

        Empty if the store is unresponsive.
        """
        with suppress(UnresponsiveError), optional_client(self.address) as client:
            found = trials(client, "ids", parent_run_id, f"tags.{KEY_TAG} != ''")
            return {key_of(run): run.info.run_id for run in found}
        return {}

    def link_killed(
        self, parent_run_id: str, by_trial: Mapping[int, str], known: Collection[str] = ()
    ) -> None:
        """Tag each killed run of a sweep with the run that repeated its trial (`rerun_as`).

        by_trial: the runs of complete trials, by number; known: all runs of complete trials. Other runs of
        these trials that MLflow shows as RUNNING become KILLED. Does nothing if the store is unresponsive.
        """
        with suppress(UnresponsiveError), optional_client(self.address) as client:
            for run in trials(client, "link_killed", parent_run_id, "attributes.status != 'FINISHED'"):
                number, run_id = run.data.tags.get("trial", ""), run.info.run_id
                if not number.isdecimal() or int(number) not in by_trial or run.info.status == "FAILED":
                    continue
                if not {key_of(run), run.data.tags.get(REQUEST_TAG)}.isdisjoint(known):  # about to be sent
                    continue
                if run.info.status != "KILLED":
                    client.set_tag(run_id, "failure", "killed: the trial was run again")
                    client.set_terminated(run_id, "KILLED")
                if "rerun_as" not in run.data.tags:
                    client.set_tag(run_id, "rerun_as", by_trial[int(number)])

    def tag_front(
        self, parent_run_id: str, run_ids: Collection[str], others: Collection[str], tag: str = "pareto"
    ) -> dict[str, str]:
        """Set pareto=true (or another tag) on these trials of a sweep, and remove it from its other trials.

        Returns the path in MLflow's UI, by run id, for those that the store has. Tags that an unresponsive
        store cannot take now wait in the outbox; `others` then lose theirs.
        """
        pages: dict[str, str] = {}
        try:
            with optional_client(self.address) as client:
                known = {key_of(run): run for run in trials(client, "tag_front", parent_run_id)}
                for run_id, run in known.items():
                    if (run_id in run_ids) == (run.data.tags.get(tag) == "true"):
                        continue
                    if run_id in run_ids:
                        client.set_tag(run.info.run_id, tag, "true")
                    else:
                        client.delete_tag(run.info.run_id, tag)
                missing = [run_id for run_id in run_ids if run_id not in known]
                found = {run_id: known[run_id].info for run_id in run_ids if run_id in known}
                pages = {run_id: run_page(info.experiment_id, info.run_id) for run_id, info in found.items()}
        except UnresponsiveError:
            missing = list(run_ids)
            for run_id in others:
                self._later(run_id, untag=[tag])
        for run_id in missing:
            self._later(run_id, tags={tag: "true"})
        return pages

    def _later(
        self,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        untag: Sequence[str] = (),
        register: str = "",
    ) -> None:
        """Tag or register a pending run when it is sent; the same, as an entry of its own, for a run that the
        store has."""
        entry = self._outbox.find(run_id)
        if entry is None:
            uri = masked(self.address)
            entry = Entry(run_id, uri, "", "", now_ms(), this_process(), in_store=True, status="")
        kept = {key: value for key, value in entry.tags.items() if key not in untag} | dict(tags or {})
        removed = [*(key for key in entry.untag if key not in kept), *untag]
        self._outbox.save(replace(entry, tags=kept, untag=removed, register=register or entry.register))


def trials(client: MlflowClient, asker: str, parent_run_id: str, condition: str = "") -> Iterator[Run]:
    """The runs of a sweep's trials that match a condition (MLflow's filter syntax; empty: all), oldest first.

    Raises ConfigError naming the asker if the store does not have the sweep.
    """
    experiment_id = get_run(client, asker, parent_run_id).info.experiment_id
    query = f"tags.`{PARENT_TAG}` = '{parent_run_id}'"
    return search(client, experiment_id, f"{query} and {condition}" if condition else query)


def _table(value: Any) -> pd.DataFrame:
    """A table in the form of `Run.log_table`. Raises ConfigError for another form."""
    require(isinstance(value, dict) and value.keys() == {"columns", "data"}, "it must have columns and data")
    columns, data = value["columns"], value["data"]
    require(isinstance(columns, list) and isinstance(data, list), "its columns and its data must be lists")
    require_few_columns(len(columns))
    whole = all(isinstance(row, list) and len(row) == len(columns) for row in data)
    require(whole, f"each row of its data must be a list of {len(columns)} values")
    return pd.DataFrame(data, columns=columns)


def _large(path: str) -> str:
    """The name of a table that is too large for display (`Run.log_table`)."""
    return str(Path(path).with_suffix(".parquet"))


def _json(file: Path, most_bytes: int) -> Any:
    """The value in a JSON file. Raises ConfigError for one that is large; ValueError for what is no JSON."""
    text = content(file, most_bytes).read()
    lists = text.count(b"[") + text.count(b"{")
    require(lists <= MOST_LISTS, f"it has {lists} lists and mappings, and at most {MOST_LISTS} are read")
    return json.loads(text)


def key_of(run: Run) -> str:
    """The id by which a study refers to a run: its outbox id if it began there, else MLflow's."""
    return str(run.data.tags.get(KEY_TAG, run.info.run_id))
