"""Nothing of a pool stays behind, whatever ends it; a device that stops answering is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.execution.devices.device_error import DeviceError
from pipeline.execution.devices.pool import DevicePool
from pipeline.host.processes import module_environment

HOLD = """
from pipeline.execution.devices.pool import DevicePool
pool = DevicePool(["d"])
print("up", flush=True)
input()
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is not too long for a socket file."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.full
def test_a_killed_parent_leaves_no_process_and_no_folder(short_path: Path) -> None:
    environment = module_environment() | {"TMPDIR": str(short_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    assert [*short_path.iterdir()] != []
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while [*short_path.iterdir()] and time.monotonic() < until:
        time.sleep(0.1)
    assert [*short_path.iterdir()] == []


def test_a_long_temporary_directory_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems allow a socket file a path of 107 letters or fewer."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    pool = DevicePool(["d"])
    assert pool.call("d", {"op": "reset"})[0] == {}
    pool.close()


def test_a_device_that_stops_answering_is_named_with_its_task() -> None:
    """A stopped process is neither dead nor done."""
    pool = DevicePool(["d"], patience_s=1.0)
    hung = pool._processes["d"]
    os.kill(hung.pid, signal.SIGSTOP)
    words = r"^device d has not answered for 2 s, since \d\d:\d\d:\d\d UTC: run, stage 0, request 7$"
    with pytest.raises(DeviceError, match=words):
        pool.call("d", {"op": "run", "stage": "0", "request": "7", "takes": "input"})
    assert hung.poll() == -signal.SIGKILL
    assert not pool.alive()


@pytest.mark.full
def test_a_device_may_take_twenty_times_the_time_expected() -> None:
    pool = DevicePool(["d"], patience_s=1.0)
    os.kill(pool._processes["d"].pid, signal.SIGSTOP)
    resume = threading.Timer(3, os.kill, (pool._processes["d"].pid, signal.SIGCONT))
    resume.start()
    pool.call("d", {"op": "reset"}, expected_s=0.5)
    resume.join()
    pool.close()
