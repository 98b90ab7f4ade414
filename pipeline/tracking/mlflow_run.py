"""An open run: its data are collected in the outbox, and sent when it ends. Shell."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.domain.checks import ConfigError
from pipeline.domain.credentials import masked
from pipeline.results.metric_keys import metric
from pipeline.results.metric_values import require_metric
from pipeline.results.pages.figures_html import figure_page
from pipeline.tracking.datasets import Dataset
from pipeline.tracking.entry import PARENT_TAG, Entry
from pipeline.tracking.mlflow_store import UnresponsiveError, optional_client
from pipeline.tracking.model_folder import DIGEST_TAG, PARTS, PLAN_FILE, SPEC_FILE
from pipeline.tracking.outbox import Outbox, disk_error, now_ms
from pipeline.tracking.sending import log_batches, send

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.basedatatypes import BaseFigure

SHOWN_ROWS = 20_000
"""Largest table that is logged for display in MLflow's UI; a simulation may record millions of rows."""
FLUSH_S = 1.0
"""Minimum seconds between two updates of an open run in the store."""
TABLES_TAG = "mlflow.loggedArtifacts"
"""Tag that lists for MLflow's UI which artifacts are tables."""
NOTE_TAG = "mlflow.note.content"
"""The description on a run's page, in Markdown."""


class Run:
    """An open run: everything that is written to MLflow goes through one of these methods.

    They collect data in memory and in the outbox; `end` sends everything; `flush` sends metrics, params
    and tags earlier. Methods that write a file raise DiskError if that fails.
    """

    def __init__(self, entry: Entry, outbox: Outbox) -> None:
        self._entry, self._outbox = entry, outbox
        self._flushed_s = -math.inf

    @property
    def run_id(self) -> str:
        """The run's id in MLflow, or in the outbox if MLflow did not have the run when it began."""
        return self._entry.run_id

    def _add(self, **fields: Any) -> None:
        self._entry = replace(self._entry, **fields)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Log metrics except unknown ones, which are None or NaN.

        Raises ValueError for an unknown key, and ConfigError for a value that its metric cannot have.
        """
        at_ms = now_ms()
        points = []
        for key, value in metrics.items():
            metric(key)
            if value is not None and not math.isnan(value):
                require_metric(f"run {self._entry.name}", key, value)
                points.append((key, float(value), at_ms, step or 0))
        self._add(metrics=[*self._entry.metrics, *points])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log params as text, except those that the run has: MLflow's params cannot change, and `mlflow run`
        logs those of its entry point."""
        known = self._entry.known_params
        fresh = {key: masked(str(value)) for key, value in params.items() if key not in known}
        self._add(params=fresh | dict(self._entry.params))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same names."""
        self._add(tags={**self._entry.tags, **{key: masked(str(value)) for key, value in tags.items()}})

    def log_inputs(self, datasets: Iterable[Dataset]) -> None:
        """Log the datasets that the run used."""
        self._add(inputs=[*self._entry.inputs, *map(asdict, datasets)])

    def log_table(self, table: pd.DataFrame, path: str) -> None:
        """Log a table of any columns, without its index and at full precision, for display in the UI.

        path ends in .json; a table of more than SHOWN_ROWS becomes a Parquet file of that name instead.
        """
        if len(table) > SHOWN_ROWS:
            with self._file(str(Path(path).with_suffix(".parquet"))) as file:
                table.to_parquet(file, index=False)
            return
        rows = [[*map(_json_value, row)] for row in table.itertuples(index=False, name=None)]
        self.log_text(json.dumps({"columns": [*table], "data": rows}), path)
        if rows:  # the UI mistakes a table without rows for images
            shown = [*json.loads(self._entry.tags.get(TABLES_TAG, "[]")), {"path": path, "type": "table"}]
            self.set_tags({TABLES_TAG: json.dumps(shown)})

    def log_text(self, text: str, path: str) -> None:
        """Log a text file."""
        with self._file(path) as file:
            file.write_text(masked(text))

    def log_figure(self, figure: BaseFigure | Figure, path: str) -> None:
        """Log a figure: plotly's as .html that works offline (2 MB), matplotlib's as .png."""
        with self._file(path) as file:
            if path.endswith(".html"):
                file.write_text(figure_page(figure))
            else:
                figure.savefig(file, dpi=160)

    def log_model(self, plan: str, spec: str) -> None:
        """Log the model that `model_folder` makes of the text of a plan file and `model` of the config."""
        self.log_text(plan, f"{PARTS}/{PLAN_FILE}")
        self.log_text(spec, f"{PARTS}/{SPEC_FILE}")
        self.set_tags({DIGEST_TAG: hashlib.sha256(f"{plan}\0{spec}".encode()).hexdigest()})

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        """Path for an artifact in the outbox. Raises DiskError if a disk write fails, in the block too."""
        file = self._outbox.files(self._entry) / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            yield file
        except OSError as error:
            raise disk_error(file, error) from error

    def flush(self) -> None:
        """Send the metrics, params and tags logged so far: at most once in FLUSH_S, if the store responds."""
        if not self._entry.in_store or time.monotonic() < self._flushed_s + FLUSH_S:
            return
        self._flushed_s = time.monotonic()
        with suppress(UnresponsiveError), optional_client(self._outbox.uri) as client:
            log_batches(client, self._entry.run_id, self._entry)
            known = [*self._entry.known_params, *self._entry.params]
            self._add(metrics=[], params={}, known_params=known, tags=kept_tags(self._entry.tags))

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED: save it, and send it unless it is held back."""
        held_back = self._entry.held_back and status == "FINISHED"
        self._add(status=status, end_ms=now_ms(), held_back=held_back)
        try:
            self._outbox.save(self._entry)
        except ConfigError:
            if status != "FINISHED":  # the disk refuses, but the store can show that the run failed
                send(self._entry, self._outbox)
            raise
        if not held_back:
            send(self._entry, self._outbox)


def _json_value(value: Any) -> Any:
    """None for NaN and infinite numbers, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that an open run still needs in its entry after the store has them."""
    return {key: value for key, value in tags.items() if key in (TABLES_TAG, PARENT_TAG)}
