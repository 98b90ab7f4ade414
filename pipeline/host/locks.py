"""Locks between the processes of one user on this machine, freed when their holder dies. Shell."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import socket
import stat
import tempfile
from pathlib import Path

import platformdirs
from filelock import FileLock


class MachineLock:
    """A reentrant lock, whose file is there only while a process holds it or waits for it."""

    def __init__(self, path: Path) -> None:
        # A process that has opened the file and locks it after its removal notices that, and begins anew.
        self._lock = FileLock(path)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        if self._lock.lock_counter == 1:
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    @property
    def is_locked(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock.is_locked


@functools.cache
def machine_lock(what: str = "") -> MachineLock:
    """The lock named `what`; without a name, the one for measurements, since two at once would count each
    other's joules.

    There is one lock object per name and process.
    """
    named = f"-{hashlib.sha256(what.encode()).hexdigest()[:16]}" if what else ""
    return MachineLock(_folder() / f"{socket.gethostname()}{named}.lock")


@functools.cache
def _folder() -> Path:
    """A folder that only this user may enter; other users may make files in the temporary directory."""
    folder = platformdirs.user_cache_path("carbonedge") / "locks"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # an account without a home
        named = Path(tempfile.gettempdir()) / f"carbonedge-{os.getuid()}"
        return next(
            each for k in itertools.count() if _made_ours(each := named.with_name(f"{named.name}-{k}"))
        )
    return folder


def _made_ours(folder: Path) -> bool:
    """Make a folder that only this user may enter; False where another user has made it before."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
