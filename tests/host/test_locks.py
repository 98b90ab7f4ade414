"""The lock of this machine: between processes, reentrant, and gone when nobody needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.host import locks
from pipeline.host.locks import MachineLock, machine_lock
from pipeline.host.processes import module_environment

COUNT = """
import sys
from pathlib import Path
from pipeline.host.locks import MachineLock
counter = Path(sys.argv[2])
for _ in range(200):
    with MachineLock(Path(sys.argv[1])):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.fixture
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for cached in (machine_lock, locks._folder):
        cached.cache_clear()
    yield
    for cached in (machine_lock, locks._folder):
        cached.cache_clear()


def test_a_process_can_take_the_lock_twice() -> None:
    with machine_lock(), machine_lock():
        assert machine_lock().is_locked
    assert not machine_lock().is_locked


def test_no_two_processes_hold_a_lock_whose_file_comes_and_goes(tmp_path: Path) -> None:
    counter, lock = tmp_path / "counter", tmp_path / "x.lock"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNT, str(lock), str(counter)]
    processes = [subprocess.Popen(command, env=module_environment()) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "600"
    assert not lock.exists()


@pytest.mark.usefixtures("_own_folder")
def test_no_file_stays_behind(tmp_path: Path) -> None:
    for name in ("", "a", "b"):
        with machine_lock(name):
            assert len([*tmp_path.rglob("*.lock")]) == 1
    assert [*tmp_path.rglob("*.lock")] == []
    assert (tmp_path / "cache" / "carbonedge" / "locks").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("_own_folder")
def test_an_account_without_a_home_locks_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = tmp_path / f"carbonedge-{os.getuid()}-0"
    others.mkdir()
    others.chmod(0o777)  # as somebody else may have made it
    (tmp_path / f"carbonedge-{os.getuid()}-1").symlink_to(tmp_path)
    with machine_lock():
        (lock,) = tmp_path.rglob("*.lock")
        assert lock.parent.name == f"carbonedge-{os.getuid()}-2"


def test_the_file_of_a_dead_holder_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("left behind")
    with MachineLock(tmp_path / "x.lock"):
        pass
    assert not (tmp_path / "x.lock").exists()
