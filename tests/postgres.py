"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """A server in a folder; `url` has a password, which it asks for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It refuses to run as root.
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        password = folder.parent / f"{folder.name}.password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run("initdb", "-D", folder, "-U", "test", "-A", "md5", f"--pwfile={password}", "-N")
        password.unlink()
        self.url = f"postgresql://test:secret@127.0.0.1:{self._port}/postgres"

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command, user=self._user, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -h 127.0.0.1 -F"
        log = self._folder / "server.log"
        self._run("pg_ctl", "start", "-w", "-D", self._folder, "-l", log, "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `fast` ends the connections in order, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", self._folder, "-m", mode)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server. Skips the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg")
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        server = Postgres(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()
