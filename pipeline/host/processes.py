"""Identity of this process, and whether another is still alive. Shell."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import psutil


def this_process() -> list[Any]:
    """Identity of this process for `alive`: host name, pid, start time in seconds since 1970."""
    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def alive(owner: Sequence[Any]) -> bool:
    """Whether the process with this identity may be alive; always true for a process of another machine."""
    host, pid, started_s = owner
    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - started_s) < 1)
    except psutil.NoSuchProcess:
        return False
