"""Pending runs on disk: one folder each, complete before it is sent, so that a crash loses nothing. Shell.

A run stays here until the store has it: while the store is unresponsive, and after its sender was killed.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.domain.checks import ConfigError, one_line, require
from pipeline.domain.credentials import masked
from pipeline.host.files import write_atomically
from pipeline.host.locks import MachineLock, machine_lock

KEY_TAG = "outbox"
"""Tag of a run that MLflow did not have when it began: the run's id in the outbox."""
REQUEST_TAG = "request"
"""Tag of a run: the id under which it was asked for. Where MLflow's answer is lost, it is found by it."""
PARENT_TAG = "mlflow.parentRunId"
"""Tag of a trial: the run id of its sweep, under which MLflow's UI shows it."""
OWNER_TAG = "process"
"""Tag of a run: the identity of the process that writes it, by which a killed run is recognised."""
REFUSED = "refused"
"""Subfolder of an outbox for runs that the store rejects for good."""
MetricPoint = tuple[str, float, int, int]
"""One value of a metric: key, value, time in ms since 1970, step."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Everything about a run except its artifacts, which are files beside it."""

    run_id: str
    """If `in_store`, the run's id in MLflow; else the value of its tags REQUEST_TAG and KEY_TAG."""
    uri: str
    """The store to which it goes, without a password."""
    experiment_id: str
    name: str
    start_ms: int
    """Start of the run, in ms since 1970."""
    owner: Sequence[Any]
    """Identity of the process that writes the run (`pipeline.host.processes`)."""
    in_store: bool = False
    """Whether MLflow has the run already."""
    status: str = "RUNNING"
    """MLflow's status; empty for tags that are added to a run later and do not change its status."""
    end_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    known_params: Sequence[str] = ()
    """Names of the params that the store has: their values cannot change."""
    metrics: Sequence[MetricPoint] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    """The fields of each Dataset that the run used."""
    shared: bool = False
    """Whether other processes may write to the same run, as they may to a sweep's."""
    untag: Sequence[str] = ()
    """Tags that the run loses when it is sent."""
    register: str = ""
    """Name under which the run's model is registered; empty: it is not."""
    held_back: bool = False
    """Whether the run waits until its sweep's study has recorded the trial; unrecorded trials are rerun."""

    def __post_init__(self) -> None:
        texts = (self.uri, self.experiment_id, self.name, self.status)
        good = re.fullmatch(r"[\w-]+", str(self.run_id)) is not None and len(self.owner) > 1
        require(
            good and all(isinstance(text, str) for text in texts) and type(self.owner[1]) is int,
            f"an entry's run_id must be letters, digits, _ or -, and its owner a process ({self.run_id!r})",
        )

    @property
    def folder(self) -> str:
        """Name of the run's folder in the outbox; each process has its own for a shared run."""
        return f"{self.run_id}-{self.owner[1]}" if self.shared else self.run_id

    @property
    def parent_run_id(self) -> str | None:
        """Run id of the sweep, for a trial."""
        return self.tags.get(PARENT_TAG)


@dataclass(frozen=True)
class Outbox:
    """A folder of pending runs."""

    folder: Path
    uri: str
    """The store whose runs these methods find, and to which they go: credentials go nowhere else."""

    @property
    def lock(self) -> MachineLock:
        """Held by the process that sends from this outbox."""
        return machine_lock(f"outbox {self.folder.absolute()}")

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is still pending."""
        return (self.folder / entry.folder / "run.json").exists()

    def files(self, entry: Entry) -> Path:
        """Folder of a run's artifacts."""
        return self.folder / entry.folder / "artifacts"

    def link(self, entry: Entry) -> Path | None:
        """A link among a run's artifacts, which could lead out of the outbox; None if there is none."""
        return next((file for file in self.files(entry).rglob("*") if file.is_symlink()), None)

    def save(self, entry: Entry) -> None:
        """Write an entry atomically. Raises DiskError if a disk write fails."""
        path = self.folder / entry.folder / "run.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(asdict(entry)))
        except OSError as error:
            raise disk_error(path.parent, error) from error

    def find(self, name: str) -> Entry | None:
        """The entry in a folder, or None; one that is not valid is set aside with a warning."""
        path = self.folder / name / "run.json"
        try:
            fields = json.loads(path.read_text())
            entry = Entry(**fields | {"metrics": [tuple(point) for point in fields["metrics"]]})
            require(entry.folder == name, f"it is the entry of {entry.folder!r}")
            return entry
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            aside, reason = self.set_aside(name), one_line(error) if isinstance(error, ConfigError) else ""
            reason = reason or type(error).__name__
            _log.warning("%s cannot be read (%s); moved to %s", path, reason, aside)
            return None

    def entries(self) -> list[Entry]:
        """The entries of the store, oldest first."""
        return [entry for entry in self._all() if entry.uri == masked(self.uri)]

    def elsewhere(self) -> list[str]:
        """The other stores for which entries wait."""
        return sorted({entry.uri for entry in self._all()} - {masked(self.uri)})

    def _all(self) -> list[Entry]:
        found = [self.find(path.parent.name) for path in self.folder.glob("*/run.json")]
        return sorted((entry for entry in found if entry), key=lambda entry: entry.start_ms)

    def ended(self) -> list[Entry]:
        """The entries of runs that have ended, oldest first."""
        return [entry for entry in self.entries() if entry.status != "RUNNING"]

    def set_aside(self, name: str) -> Path:
        """Move a folder that the store rejects for good to REFUSED, for inspection; return its new path."""
        aside = self.folder / REFUSED / name
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        return (self.folder / name).replace(aside)

    def remove(self, name: str) -> None:
        """Delete the folder of a run that is sent or discarded; and the outbox, once it is empty."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            self.folder.rmdir()
        except OSError:  # other runs are pending
            return


def new_id() -> str:
    """Id of a run that MLflow does not have yet, in the format of MLflow's own."""
    return uuid.uuid4().hex


def now_ms() -> int:
    """The time as MLflow counts it: ms since 1970."""
    return int(time.time() * 1000)


class DiskError(ConfigError):
    """Results cannot be written to disk, so that a sweep must stop."""


def disk_error(path: Path, error: OSError) -> DiskError:
    """The DiskError for a path that could not be written."""
    reason = error.strerror or error
    return DiskError(f"tracking.outbox: cannot write to {path}: {reason}; fix this, then run again")
