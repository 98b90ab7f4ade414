"""Which process this is, and whether another one still lives. Shell."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import psutil


def this_process() -> list[Any]:
    """This process, so that any other can tell whether it still lives: host, pid, when it began."""
    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def alive(owner: Sequence[Any]) -> bool:
    """Whether a process may still live: one of another machine may."""
    host, pid, began = owner
    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - began) < 1)
    except psutil.NoSuchProcess:
        return False
