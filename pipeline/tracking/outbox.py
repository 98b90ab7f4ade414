"""Runs on their way to MLflow: a folder each, whole before the store is asked to take it. Shell.

What a store has not taken, as it did not answer or its sender was killed, is still here, and is sent later.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.domain.checks import ConfigError
from pipeline.host.locks import machine_lock

MetricPoint = tuple[str, float, int, int]
"""Of a metric: key, value, time in ms since 1970, step."""


@dataclass(frozen=True)
class Entry:
    """All there is of a run but its files, which lie beside it."""

    run_id: str
    """The run's id in MLflow, where `in_store`; else what its tag KEY_TAG will be."""
    uri: str
    experiment_id: str
    name: str
    start_ms: int
    owner: Sequence[Any]
    """The process that writes it."""
    in_store: bool = False
    status: str = "RUNNING"
    end_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    known_params: Sequence[str] = ()
    """Names of params that the store has of the run: they cannot change."""
    metrics: Sequence[MetricPoint] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    """The fields of each Dataset that the run was fed."""
    shared: bool = False
    """Whether other processes may write to the same run: a sweep's."""
    held_back: bool = False
    """A trial's, until its study knows of it: one that is not known is run again."""

    @property
    def folder(self) -> str:
        """Name of its own in the outbox."""
        return f"{self.run_id}-{self.owner[1]}" if self.shared else self.run_id

    @property
    def parent_run_id(self) -> str | None:
        """The sweep that it is a trial of."""
        return self.tags.get("mlflow.parentRunId")


KEY_TAG = "outbox"
"""Tag of a run that MLflow did not know when it began: the name of its folder."""
_log = logging.getLogger(__name__)
REFUSED = "refused"
"""Of an outbox: the folder of what a store will never take."""


@dataclass(frozen=True)
class Outbox:
    """A folder of entries."""

    folder: Path

    @property
    def turn(self) -> FileLock:
        """Held by the process that sends from it."""
        return machine_lock(f"outbox {self.folder.absolute()}")

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is still here."""
        return (self.folder / entry.folder / "run.json").exists()

    def files(self, entry: Entry) -> Path:
        """Where a run's artifacts lie."""
        return self.folder / entry.folder / "artifacts"

    def save(self, entry: Entry) -> None:
        """Write an entry, whole or not at all. Raises DiskError where the disk refuses."""
        path = self.folder / entry.folder / "run.json"
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(asdict(entry)))
            part.replace(path)
        except OSError as error:
            raise refusal(path.parent, error) from error

    def find(self, name: str) -> Entry | None:
        """The entry in a folder, where there is one; one that cannot be read is told and set aside."""
        path = self.folder / name / "run.json"
        try:
            fields = json.loads(path.read_text())
            return Entry(**fields | {"metrics": [tuple(point) for point in fields["metrics"]]})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            self.set_aside(name)
            aside = self.folder / REFUSED / name
            _log.warning("%s cannot be read (%s), and is kept in %s", path, type(error).__name__, aside)
            return None

    def entries(self) -> Iterator[Entry]:
        """All of them, oldest first."""
        found = [self.find(path.parent.name) for path in self.folder.glob("*/run.json")]
        yield from sorted((entry for entry in found if entry), key=lambda entry: entry.start_ms)

    def set_aside(self, name: str) -> None:
        """Keep what a store will never take, for a person to look at."""
        aside = self.folder / REFUSED
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / name, ignore_errors=True)
        (self.folder / name).replace(aside / name)

    def remove(self, name: str) -> None:
        """Forget an entry: MLflow has it, or it is not wanted."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            self.folder.rmdir()
        except OSError:  # others are left
            return


def new_id() -> str:
    """Of a run that MLflow does not know yet; as long as its own."""
    return uuid.uuid4().hex


class DiskError(ConfigError):
    """The disk does not take what was found, so that a sweep cannot go on."""


def refusal(where: Path, error: OSError) -> DiskError:
    """What to raise where the disk refuses."""
    what = error.strerror or error
    return DiskError(f"tracking.outbox: cannot write to {where}: {what}; mend it and run this again")
