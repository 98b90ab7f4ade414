"""Locks between the processes of one user on this machine, freed when their holder dies. Shell."""

from __future__ import annotations

import functools
import getpass
import hashlib
import tempfile
from pathlib import Path

from filelock import FileLock


@functools.cache
def machine_lock(what: str = "") -> FileLock:
    """The lock named `what`; without a name, the one for measurements, since two at once would count each
    other's joules.

    There is one lock object per name and process, and it is reentrant.
    """
    named = f"-{hashlib.sha256(what.encode()).hexdigest()[:16]}" if what else ""
    return FileLock(Path(tempfile.gettempdir()) / f"carbonedge-{getpass.getuser()}{named}.lock")
