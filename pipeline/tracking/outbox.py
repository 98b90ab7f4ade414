"""Pending runs on disk: one folder each, complete before it is sent, so that a crash loses nothing. Shell.

A run stays here until the store has it: while the store is unresponsive, and after its sender was killed.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import stat
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.domain.checks import ConfigError, one_line, require
from pipeline.domain.credentials import masked
from pipeline.domain.printable import printable
from pipeline.host.data_file import MOST_BYTES, content
from pipeline.host.files import write_atomically
from pipeline.host.locks import MachineLock, machine_lock
from pipeline.host.processes import alive
from pipeline.tracking.entry import REFUSED, Entry, is_id, read_entry
from pipeline.tracking.model_folder import require_own_model

KEY_TAG = "outbox"
"""Tag of a run that MLflow did not have when it began: the run's id in the outbox."""
REQUEST_TAG = "request"
"""Tag of a run: the id under which it was asked for. Where MLflow's answer is lost, it is found by it."""
OWNER_TAG = "process"
"""Tag of a run: the identity of the process that writes it, by which a killed run is recognised."""
_log = logging.getLogger(__name__)


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

    def require_own_files(self, entry: Entry) -> None:
        """Raise ConfigError for an artifact that this version does not write, as code could be in it or in
        what it leads to: a link or pipe, and a model of another's making."""
        files = self.files(entry)
        found = (path for path in (files, *files.rglob("*")) if path.is_symlink() or path.exists())
        odd = next((path for path in found if not _is_own(path)), None)
        require(odd is None, f"{odd} is a link, or no file")
        require_own_model(files)

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
        if not is_id(name) or not (path.is_symlink() or path.exists()):
            return None
        try:
            require(_is_own(path.parent) and _is_own(path) and path.is_file(), "it is a link, or no file")
            entry = read_entry(content(path, MOST_BYTES).read().decode())
            require(entry.folder == name, f"it is the entry of {entry.folder!r}")
            return entry
        except FileNotFoundError:  # another process has just sent it
            return None
        except (ConfigError, ValueError, RecursionError) as error:
            aside, reason = self.set_aside(name), one_line(error) if isinstance(error, ConfigError) else ""
            reason = reason or type(error).__name__
            _log.warning("%s cannot be read (%s); moved to %s", path, reason, aside)
            return None

    def entries(self) -> list[Entry]:
        """The entries of the store, oldest first."""
        return [entry for entry in self._all() if entry.uri == masked(self.uri)]

    def elsewhere(self) -> list[str]:
        """The other stores for which entries wait; not those of runs that have not ended."""
        waiting = [entry for entry in self._all() if entry.status != "RUNNING" or not alive(entry.owner)]
        return sorted({printable(entry.uri) for entry in waiting} - {masked(self.uri)})

    def _all(self) -> list[Entry]:
        names = [path.name for path in self.folder.glob("*") if path.name != REFUSED]
        found = map(self.find, names)
        return sorted((entry for entry in found if entry), key=lambda entry: entry.start_ms)

    def ended(self) -> list[Entry]:
        """The entries of runs that have ended, oldest first."""
        return [entry for entry in self.entries() if entry.status != "RUNNING"]

    def set_aside(self, name: str) -> Path:
        """Move a folder that the store rejects for good to REFUSED, for inspection; return its new path.

        Raises DiskError if REFUSED is a link, or cannot be written.
        """
        refused = self.folder / REFUSED
        try:
            refused.mkdir(exist_ok=True)
            if refused.is_symlink():
                raise OSError(errno.ELOOP, "it is a link")
            aside = refused / name
            shutil.rmtree(aside, ignore_errors=True)
            return (self.folder / name).replace(aside)
        except OSError as error:
            raise disk_error(refused, error) from error

    def remove(self, name: str) -> None:
        """Delete the folder of a run that is sent or discarded; and the outbox, once it is empty."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            self.folder.rmdir()
        except OSError:  # other runs are pending
            return


def _is_own(path: Path) -> bool:
    """Whether a path is itself a file or a folder: no link, pipe or device."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


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
