"""Start a process of a module; identity of this process, and whether another is still alive. Shell."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package `pipeline`."""


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a process of its own, with `module_environment`.

    `-P`: no file of the working directory shadows a package that this process has imported.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """The environment in which another process imports the packages and plug-ins that this one imports."""
    # An editable install may be found by a hook and not by the path, so that its folder is named first.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}


def this_process() -> list[Any]:
    """Identity of this process for `alive`: host name, pid, start time in seconds since 1970."""
    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def is_identity(value: Any) -> bool:
    """Whether a value that was read can be an identity of `this_process`."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    host, pid, started_s = value
    good = isinstance(host, str) and type(pid) is int and 0 <= pid < 2**31
    return good and isinstance(started_s, int | float) and 0 <= started_s < 1e12


def alive(owner: Sequence[Any]) -> bool:
    """Whether the process with this identity may be alive; always true for a process of another machine."""
    host, pid, started_s = owner
    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - started_s) < 1)
    except psutil.NoSuchProcess:
        return False
