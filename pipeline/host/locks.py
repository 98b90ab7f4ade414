"""Locks between the processes of this machine and user; one that dies lets go of them. Shell."""

from __future__ import annotations

import functools
import getpass
import hashlib
import tempfile
from pathlib import Path

from filelock import FileLock


@functools.cache
def machine_lock(what: str = "") -> FileLock:
    """Of one thing at a time: of measuring, where nothing is named, as two would count each other's joules.

    The same lock for all of a process, which may take it again while it has it.
    """
    named = f"-{hashlib.sha256(what.encode()).hexdigest()[:16]}" if what else ""
    return FileLock(Path(tempfile.gettempdir()) / f"carbonedge-{getpass.getuser()}{named}.lock")
