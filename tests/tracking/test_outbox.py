"""Pending runs on disk: shared, damaged, and on a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.outbox import DiskError, Entry, Outbox
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, environment, stored


def _full(path: Path, text: str, **options: object) -> int:
    """Path.write_text on a disk that is full after the first half."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_processes_that_share_a_sweep_do_not_take_each_others_files(store: Tracking) -> None:
    with store.open_run("sweep", {}, {}) as first:
        script = (
            "from pipeline.tracking.tracking import Tracking\n"
            f"with Tracking(uri={store.uri!r}).open_run('sweep', {{}}, {{}}, {first.run_id!r}) as second:\n"
            "    second.log_text('of the second', 'second.txt')\n"
        )
        first.log_text("of the first", "first.txt")
        subprocess.run([sys.executable, "-c", script], env=environment(), check=True)
        first.log_text("of the first, later", "later.txt")
    assert store.stored(first.run_id).status == "FINISHED"
    assert [artifact(store, first.run_id, f"{name}.txt") for name in ("first", "second", "later")] == [
        b"of the first",
        b"of the second",
        b"of the first, later",
    ]
    assert not Path("outbox").exists()


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"run_id": "x"}'])
def test_an_entry_that_cannot_be_read_is_set_aside(
    store: Tracking, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path("outbox/x").mkdir(parents=True)
    Path("outbox/x/run.json").write_text(content)
    assert store.sync() == (0, 0, 0)
    assert "outbox/x/run.json cannot be read" in caplog.text
    assert Path("outbox/refused/x/run.json").read_text() == content
    shutil.rmtree("outbox")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log(opened: Run) -> None:
        monkeypatch.setattr(Path, "write_text", _full)
        opened.log_text("text", "notes.txt")

    complaint = r"tracking.outbox: cannot write to .*: No space left on device"
    with pytest.raises(ConfigError, match=complaint), store.open_run("full", {}, {}) as opened:
        log(opened)
    monkeypatch.undo()
    assert stored(store, opened.run_id).info.status == "FAILED"
    assert "No space left" in stored(store, opened.run_id).data.tags["failure"]
    assert not Path("outbox").exists()


def test_a_full_disk_leaves_the_former_entry_and_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path)
    entry = Entry("x", "sqlite:///mlflow.db", "1", "run", 0, ["host", 1, 0.0])
    outbox.save(entry)
    monkeypatch.setattr(Path, "write_text", _full)
    with pytest.raises(DiskError, match="cannot write to .*x: No space left on device"):
        outbox.save(replace(entry, status="FINISHED"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["run.json"]
    assert (found := outbox.find("x")) is not None
    assert found.status == "RUNNING"
