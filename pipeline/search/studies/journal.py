"""Storages of studies: journal files, whose locks end with their process, or databases. Shell."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.credentials import masked
from pipeline.search.studies.database import database_storage

LINE_BEGINS = b'{"op_code"'
"""First bytes of every line of a journal."""


class _JournalLock(BaseJournalFileLock):
    """A lock that ends with its process. Optuna's own stay behind after a kill and block the next process."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        if self._path.exists():
            _cut_torn_line(self._path)
        return True

    def release(self) -> None:
        self._lock.release()


def open_storage(storage: str) -> BaseStorage:
    """The storage for Optuna: a journal file (`*.journal`), or the database of a URL.

    Raises ConfigError for another path, a file that cannot be used, and a journal with a broken line.
    """
    if "://" in storage:
        return database_storage(storage)
    require(
        storage.endswith(".journal"),
        f"sweep.storage must be a path ending in .journal or a storage URL (it is {masked(storage)!r})",
    )
    path = Path(storage)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_whole(path)
        return JournalStorage(JournalFileBackend(storage, _JournalLock(path)))
    except OSError as error:
        raise ConfigError(
            f"sweep.storage: cannot use {masked(storage)}: {error.strerror or error}"
        ) from error


def _require_whole(path: Path) -> None:
    """Cut off an incomplete last line. Raises ConfigError for any other line that is not JSON."""
    if not path.exists():
        return
    with FileLock(f"{path}.lock"):
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n") and _is_json(line):
                continue
            torn = not line.endswith(b"\n") and line.startswith(LINE_BEGINS[: len(line)])
            require(
                torn and number == len(lines),
                f"sweep.storage: line {number} of {path} is broken; it is unchanged: move it away "
                "to start again, or give another sweep.storage",
            )
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size - len(line))


def _cut_torn_line(path: Path) -> None:
    """Cut off an incomplete last line, left by a kill or a full disk: the next write would continue it."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read() in (b"", b"\n"):
            return
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        if content[end:].startswith(LINE_BEGINS[: size - end]):
            file.truncate(end)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def stored_names(storage: str) -> Sequence[str]:
    """The names of the studies in a storage; none where it does not exist. Raises as `open_storage`."""
    if "://" not in storage and not Path(storage).exists():
        return []
    return optuna.get_all_study_names(open_storage(storage))
