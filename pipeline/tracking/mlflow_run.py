"""A run on its way to MLflow: gathered in the outbox, and sent to the store. Shell."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd
from mlflow.entities import DatasetInput
from mlflow.tracking import MlflowClient
from plotly.basedatatypes import BaseFigure

from pipeline.domain.checks import ConfigError
from pipeline.results.metric_table import metric
from pipeline.tracking.datasets import Dataset
from pipeline.tracking.mlflow_store import BAD_REQUEST, SilentError, one_line, patient, search
from pipeline.tracking.outbox import KEY_TAG, Entry, Outbox, refusal

SHOWN_ROWS = 20_000
"""Of a table that the UI shows; a simulation may record millions."""
BATCH = 100
"""Params or tags a request, MLflow's limit; of metrics eight times as many: all may be 1,000."""
FLUSH_S = 1.0
"""At most so often a run that goes on is brought up to date in the store."""
_log = logging.getLogger(__name__)


class Run:
    """An open run: everything written to MLflow goes through one of these methods.

    It is gathered in the outbox and sent when the run ends, or before by `flush`.
    """

    def __init__(self, entry: Entry, outbox: Outbox) -> None:
        self._entry, self._outbox = entry, outbox
        self._flushed_s = -math.inf

    @property
    def run_id(self) -> str:
        """The run's id in MLflow, or until MLflow knows it the one that it has in the outbox."""
        return self._entry.run_id

    def _add(self, **fields: Any) -> None:
        self._entry = replace(self._entry, **fields)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Write metrics, leaving out those that are not known: None, NaN and infinite ones."""
        at_ms = now_ms()
        points = []
        for key, value in metrics.items():
            metric(key)
            if value is not None and math.isfinite(value):
                points.append((key, float(value), at_ms, step or 0))
        self._add(metrics=[*self._entry.metrics, *points])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write params as text. One that the run already has stays: MLflow's params cannot change, and
        `mlflow run` has logged those of its entry point."""
        known = self._entry.known_params
        fresh = {key: str(value) for key, value in params.items() if key not in known}
        self._add(params=fresh | dict(self._entry.params))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags, over old ones of the same names."""
        self._add(tags={**self._entry.tags, **{key: str(value) for key, value in tags.items()}})

    def log_inputs(self, datasets: Iterable[Dataset]) -> None:
        """Say what the run was fed."""
        self._add(inputs=[*self._entry.inputs, *map(asdict, datasets)])

    def log_table(self, table: pd.DataFrame, path: str) -> None:
        """Write a table (without its index) that the UI shows as one, to every digit; path ends in .json.

        A table of more than SHOWN_ROWS goes into a Parquet file of that name instead.
        """
        if len(table) > SHOWN_ROWS:
            with self._file(str(Path(path).with_suffix(".parquet"))) as file:
                table.to_parquet(file, index=False)
            return
        rows = [[*map(_json_value, row)] for row in table.itertuples(index=False, name=None)]
        self.log_text(json.dumps({"columns": [*table], "data": rows}), path)
        if rows:  # a table without would be taken for images
            shown = [*json.loads(self._entry.tags.get(TABLES_TAG, "[]")), {"path": path, "type": "table"}]
            self.set_tags({TABLES_TAG: json.dumps(shown)})

    def log_text(self, text: str, path: str) -> None:
        """Write a text file."""
        with self._file(path) as file:
            file.write_text(text)

    def log_figure(self, figure: BaseFigure | matplotlib.figure.Figure, path: str) -> None:
        """Write a figure: plotly's as .html, its script inside (5 MB) to open offline; matplotlib's .png."""
        with self._file(path) as file:
            if path.endswith(".html"):
                figure.write_html(file, include_plotlyjs=True)  # type: ignore[union-attr]
            else:
                figure.savefig(file, dpi=160)

    def log_model(self, data: Path, loader: str) -> None:
        """Write an MLflow model, `model`, that a module loads from a folder of data."""
        from mlflow.pyfunc import save_model

        with self._file("model") as folder:
            save_model(
                str(folder), loader_module=loader, data_path=str(data), pip_requirements=["carbonedge"]
            )

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        """Where an artifact is to lie; DiskError where the disk refuses."""
        file = self._outbox.files(self._entry) / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            yield file
        except OSError as error:
            raise refusal(file, error) from error

    def flush(self) -> None:
        """Send metrics, params and tags that are there so far, where the store answers; once in a while."""
        if not self._entry.in_store or time.monotonic() < self._flushed_s + FLUSH_S:
            return
        self._flushed_s = time.monotonic()
        with suppress(SilentError), patient(self._entry.uri) as client:
            _log_batches(client, self._entry.run_id, self._entry)
            known = [*self._entry.known_params, *self._entry.params]
            self._add(metrics=[], params={}, known_params=known, tags=kept_tags(self._entry.tags))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED: whole in the outbox, and sent unless held back."""
        held_back = self._entry.held_back and status == "FINISHED"
        self._add(status=status, end_ms=now_ms(), held_back=held_back)
        try:
            self._outbox.save(self._entry)
        except ConfigError:
            if status != "FINISHED":  # the disk is full, but the store may be told so
                send(self._entry, self._outbox)
            raise
        if not held_back:
            send(self._entry, self._outbox)


def _json_value(value: Any) -> Any:
    """None for what is not known or infinite, of which JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


TABLES_TAG = "mlflow.loggedArtifacts"
"""Tells MLflow's UI which files are tables."""
NOTE_TAG = "mlflow.note.content"
"""The description on a run's page, in Markdown."""


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that are needed here after the store has them."""
    return {key: value for key, value in tags.items() if key in (TABLES_TAG, "mlflow.parentRunId")}


def now_ms() -> int:
    """As MLflow counts: ms since 1970."""
    return int(time.time() * 1000)


def send(entry: Entry, outbox: Outbox) -> bool:
    """Send a run that has ended, and take it out of the outbox; False where the store does not answer.

    May be repeated, by other processes too: what a store has taken before the sender was killed is not
    doubled. Raises what MLflow does for bad names and for runs that were deleted, after closing the run as
    FAILED, where it is there, and setting it aside.
    """
    from mlflow.exceptions import MlflowException

    try:
        with outbox.turn, patient(entry.uri) as client:
            if not outbox.holds(entry):  # another was quicker
                return True
            run_id = entry.run_id if entry.in_store else _taken(client, entry)
            try:
                _log_batches(client, run_id, entry)
            except MlflowException as error:
                if error.error_code not in BAD_REQUEST:
                    raise
                with suppress(MlflowException):
                    client.set_terminated(run_id, "FAILED")
                    client.set_tag(run_id, "failure", one_line(error))
                outbox.set_aside(entry.folder)
                raise
            if entry.inputs:
                client.log_inputs(run_id, [_input(**fields) for fields in entry.inputs])
            if (files := outbox.files(entry)).is_dir():
                client.log_artifacts(run_id, str(files))
            if entry.end_ms is not None:
                client.set_terminated(run_id, entry.status, entry.end_ms)
            outbox.remove(entry.folder)
    except SilentError as silent:
        _log.debug("%s waits in %s: %s", entry.name, outbox.folder, silent)
        return False
    return True


def _taken(client: MlflowClient, entry: Entry) -> str:
    """The run that MLflow has of an entry that it did not know at first; made where it has none."""
    query = f"tags.{KEY_TAG} = '{entry.run_id}'"
    found = next(search(client, entry.experiment_id, query), None)
    if found is not None:
        return str(found.info.run_id)
    tags = {**entry.tags, KEY_TAG: entry.run_id}
    name = tags.pop("mlflow.runName", entry.name)  # which it may have been given since
    made = client.create_run(entry.experiment_id, entry.start_ms, tags, name)
    return str(made.info.run_id)


def _input(name: str, digest: str, source: str, context: str) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = Dataset(name, digest, "local", json.dumps({"uri": source}))
    return DatasetInput(found, [InputTag("mlflow.data.context", context)])


def _log_batches(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(*point) for point in entry.metrics]
    params = [Param(key, value) for key, value in entry.params.items()]
    tags = [RunTag(key, value) for key, value in entry.tags.items()]
    for first in range(0, max(len(params), len(tags), -(-len(metrics) // 8)), BATCH):
        part = slice(first, first + BATCH)
        client.log_batch(run_id, metrics[8 * first : 8 * (first + BATCH)], params[part], tags[part])
