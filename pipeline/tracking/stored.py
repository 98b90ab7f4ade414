"""A run as the store has it. Shell."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from pipeline.domain.checks import ConfigError, require
from pipeline.tracking.mlflow_store import (
    one_line,
)


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

    def json(self, path: str) -> dict[str, Any]:
        """What a JSON file of the run says; ConfigError where it has none, or one that cannot be read."""
        with self._file(path) as file:
            return dict(json.loads(file.read_text()))

    def config(self, path: str) -> DictConfig:
        """A config that the run has kept; ConfigError as of `json`."""
        with self._file(path) as file:
            config = OmegaConf.create(file.read_text())
            if not isinstance(config, DictConfig) or not config:
                raise ValueError("it is no mapping")
            return config

    def table(self, path: str) -> pd.DataFrame:
        """A table that `Run.log_table` wrote; ConfigError as of `json`."""
        large = str(Path(path).with_suffix(".parquet"))
        with self._file(large if self.has(large) else path) as file:
            if file.suffix == ".parquet":
                return pd.read_parquet(file)
            return pd.DataFrame(**json.loads(file.read_text()))

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        """A file of the run for the block that reads it."""
        owner = f"run {self.run_id} ({self.name})"
        require(self.has(path), f"{owner}: has no {path} (it is {self.status})")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(self.client.download_artifacts(self.run_id, path, folder))
            try:
                yield file
            except (ValueError, TypeError, YAMLError) as error:
                raise ConfigError(f"{owner}: its {path} cannot be read: {one_line(error)}") from error
