"""A real MLflow server, and a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    folder: Path, port: int, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[Callable[[], None]]:
    """An MLflow server; gives what kills it and starts it again. variables: of its environment."""
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(variables or {})}

    def begin() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination",
             str(folder / "artifacts"), *options],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return process
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("MLflow's server does not start")

    running = begin()

    def kill() -> None:
        nonlocal running
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        running = begin()

    try:
        yield kill
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
