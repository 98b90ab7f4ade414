"""Runs Python commands in copies of one process that has imported what they need; imports take them seconds.

Each command is a process of its own with its own directory, environment and output, which ends as it would
alone. `python -m tests.preloaded ADDRESS READY` is the process that is copied.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "pipeline.commands.run", "pipeline.commands.compare", "pipeline.commands.reaccount",
    "pipeline.commands.report", "pipeline.search.sweeper", "pipeline.trial.perform",
    "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc", "plotly.graph_objects",
)  # fmt: skip
"""What most commands import."""
START_S = 300.0
"""Most seconds until the process to copy has imported them."""
IDLE_S = 300.0
"""Seconds without a command after which it ends, as its tests may have been killed; the next starts one."""


class Preloaded:
    """The process to copy: one for all that name the same folder, from the first command on.

    It ends when the folder is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _address(self) -> str:
        """The address of the process, which is ready for commands."""
        address, ready = self._folder / "socket", self._folder / "ready"
        with suppress(FileExistsError):
            self._folder.mkdir()
            command = [sys.executable, "-m", "tests.preloaded", str(address), str(ready)]
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
        until_s = time.monotonic() + START_S
        while not ready.exists():
            assert time.monotonic() < until_s, "the process to copy has not started"
            time.sleep(0.05)
        return str(address)

    def run(
        self, directory: Path, command: Sequence[str], environment: Mapping[str, str], timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run`, without input. command: `python -m MODULE ...`, or a script of Python."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as link:
            asked = {name: f"{folder}/{name}" for name in ("out", "err")}
            link.settimeout(timeout_s)
            link.connect(self._address())
            answers = link.makefile()
            link.sendall(json.dumps([str(directory), [*command], {**environment}, asked]).encode() + b"\n")
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            texts = (Path(file).read_text() for file in asked.values())
            return subprocess.CompletedProcess(command, code, *texts)


def _copied(address: str, ready: str) -> list[Any]:
    """Import MODULES, then copy this process for each command; returns the command, in its copy."""
    from pipeline.network.models.libraries import timm

    before = {**os.environ}
    for module in MODULES:
        import_module(module)
    timm()
    added = {key: value for key, value in os.environ.items() if key not in before}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    gc.collect()
    gc.freeze()  # so that a copy's collections do not touch, and so copy, what was imported
    Path(ready).touch()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies that wait for commands
    while True:
        idle_since_s = time.monotonic()
        while not select.select([listener], [], [], 1.0)[0]:
            if not Path(ready).exists() or time.monotonic() > idle_since_s + IDLE_S:
                shutil.rmtree(Path(ready).parent, ignore_errors=True)
                os._exit(0)
        link, _ = listener.accept()
        if os.fork():
            link.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        directory, command, environment, asked = json.loads(link.makefile().readline())
        if not (pid := os.fork()):
            link.close()
            return [directory, command, added | environment, asked]
        link.sendall(f"{pid}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        link.sendall(f"{code}\n".encode())
        os._exit(0)


def _run(
    directory: str, command: Sequence[str], environment: Mapping[str, str], asked: Mapping[str, str]
) -> None:
    """Become the command: take its directory, environment and output, and run it."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    is_module = command[1:2] == ["-m"]
    sys.argv = [*command[2 if is_module else 0 :]]
    own = directory if is_module else str(Path(command[0]).parent)
    sys.path = [own, *environment["PYTHONPATH"].split(os.pathsep), *sys.path[1:]]
    try:
        if is_module:
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    if isinstance(code, str):
        print(code, file=sys.stderr)
    # As Python ends a process, but without deleting all that was imported, which copies it first.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if isinstance(code, str) else code or 0)


if __name__ == "__main__":
    _run(*_copied(*sys.argv[1:]))
