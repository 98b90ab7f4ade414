"""Pending runs on disk: shared, damaged, and on a full disk."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.tracking.entry import Entry, read_entry
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.outbox import DiskError, Outbox
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, environment, stored


def _full(path: Path, text: str, **options: object) -> int:
    """Path.write_text on a disk that is full after the first half."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.full
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


MINE = Entry("x", "sqlite:///other.db", "1", "name", 0, ("boot", 2**22 + 1, 0.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "../victim"},
        {"name": "half a character \ud800"},
        {"tags": {"\ud800": "x"}},
        {"run_id": "../victim", "status": "FINISHED", "end_ms": 1},
        {"run_id": "y"},
        {"owner": []},
        {"owner": ["boot", "../../victim", 0], "shared": True},
        {"uri": 5},
    ],
)
def test_an_entry_has_no_place_but_its_own_folder(
    store: Tracking, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    victim = Path("victim")
    (victim / "artifacts").mkdir(parents=True)
    (victim / "artifacts" / "diary.txt").write_text("mine")
    Path("outbox/x").mkdir(parents=True)
    Path("outbox/x/run.json").write_text(json.dumps({**asdict(MINE), "uri": store.uri, **changes}))
    assert store.sync() == (0, 0, 0, 0)
    assert "outbox/x/run.json cannot be read (" in caplog.text
    assert Path("outbox/refused/x/run.json").exists()
    assert [path.name for path in victim.rglob("*")] == ["artifacts", "diary.txt"]
    shutil.rmtree("outbox")
    shutil.rmtree(victim)


def test_a_link_among_the_artifacts_is_not_followed(
    store: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    entry = replace(MINE, uri=store.uri, status="FINISHED", end_ms=1)
    Outbox(Path("outbox"), entry.uri).save(entry)
    Path("secret.txt").write_text("secret")
    Path("outbox/x/artifacts").mkdir()
    Path("outbox/x/artifacts/notes.txt").symlink_to(Path("secret.txt").absolute())
    store.sync()
    assert "notes.txt is a link, or no file" in caplog.text
    assert Path("outbox/refused/x/run.json").exists()
    assert not Path("outbox/x").exists()
    assert Path("secret.txt").read_text() == "secret"
    shutil.rmtree("outbox")


def _linked_folder(entry: Path, secret: Path) -> None:
    (entry / "artifacts").symlink_to(secret)


def _linked_entry(entry: Path, secret: Path) -> None:
    shutil.move(entry / "run.json", secret)
    entry.rmdir()
    entry.symlink_to(secret)


def _pipe(entry: Path, secret: Path) -> None:
    (entry / "artifacts").mkdir()
    os.mkfifo(entry / "artifacts" / "notes.txt")


def _entry_is_a_pipe(entry: Path, secret: Path) -> None:
    (entry / "run.json").unlink()
    os.mkfifo(entry / "run.json")


def _entry_without_end(entry: Path, secret: Path) -> None:
    (entry / "run.json").unlink()
    (entry / "run.json").symlink_to("/dev/zero")


def _entry_is_a_folder(entry: Path, secret: Path) -> None:
    (entry / "run.json").unlink()
    (entry / "run.json").mkdir()


@pytest.mark.parametrize(
    "plant", [_linked_folder, _linked_entry, _pipe, _entry_is_a_pipe, _entry_without_end, _entry_is_a_folder]
)
def test_nothing_is_read_through_a_link_or_a_pipe(
    store: Tracking, plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "id_rsa").write_text("secret")
    entry = replace(MINE, uri=store.uri, status="FINISHED", end_ms=1)
    Outbox(Path("outbox"), entry.uri).save(entry)
    plant(Path("outbox/x"), secret)
    assert store.sync().sent == 0
    assert [path.name for path in Path("outbox/refused").iterdir()] == ["x"]
    assert [*Path("mlruns").rglob("id_rsa")] == []
    assert (secret / "id_rsa").read_text() == "secret"
    assert store.sync() == (0, 0, 0, 0)
    shutil.rmtree("outbox")


def test_what_is_set_aside_stays_in_the_outbox(store: Tracking) -> None:
    thesis = Path("victim/Documents/thesis.txt")
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    Path("outbox/Documents").mkdir(parents=True)
    Path("outbox/Documents/run.json").write_text("{}")
    Path("outbox/refused").symlink_to(Path("victim").absolute())
    with pytest.raises(DiskError, match="cannot write to outbox/refused: it is a link"):
        store.sync()
    assert thesis.read_text() == "mine"
    shutil.rmtree("outbox")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tags": None}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"params": []}, "params"),
        ({"inputs": [{"x": 1}]}, "inputs"),
        ({"metrics": [["key"]]}, "metrics"),
        ({"metrics": [["key", math.inf, 0, 0]]}, "metrics"),
        ({"metrics": [["key", 10**400, 0, 0]]}, "metrics"),
        ({"untag": 5}, "untag"),
        ({"owner": ["host", -5, 0]}, "owner"),
        ({"owner": ["host", 5, 10**400]}, "owner"),
        ({"start_ms": "then"}, "start_ms"),
        ({"end_ms": 0.5}, "end_ms"),
        ({"status": "SCHEDULED"}, "status"),
        ({"held_back": 1}, "held_back"),
    ],
)
def test_a_field_of_another_kind_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=f"^its {field} is missing or of another kind$"):
        read_entry(json.dumps({**asdict(MINE), **changes}))


def test_an_entry_of_an_earlier_version_may_lack_what_has_a_default() -> None:
    kept = {key: value for key, value in asdict(MINE).items() if key not in ("untag", "register", "metrics")}
    assert json.dumps(asdict(read_entry(json.dumps(kept)))) == json.dumps(asdict(MINE))


@pytest.mark.parametrize("point", [["energy_j_per_inf", -5.0, 0, 0], ["carbon_g_per_inf", 1e300, 0, 0]])
def test_a_figure_that_cannot_be_is_not_sent(point: list[object]) -> None:
    with pytest.raises(ConfigError, match=f"its metrics.*{point[0]}"):
        read_entry(json.dumps({**asdict(MINE), "metrics": [point]}))


def test_what_waits_for_another_store_is_named_and_left(store: Tracking) -> None:
    """Credentials of this store never go to an address that an entry names."""
    entry = replace(MINE, uri="http://127.0.0.1:9", status="FINISHED", end_ms=1)
    Outbox(Path("outbox"), entry.uri).save(entry)
    assert store.sync() == (0, 0, 0, 0)
    assert store.elsewhere() == ["http://127.0.0.1:9"]
    assert [each.run_id for each in Outbox(Path("outbox"), entry.uri).entries()] == ["x"]
    shutil.rmtree("outbox")


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"run_id": "x"}', "[" * 100_000])
def test_an_entry_that_cannot_be_read_is_set_aside(
    store: Tracking, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path("outbox/x").mkdir(parents=True)
    Path("outbox/x/run.json").write_text(content)
    assert store.sync() == (0, 0, 0, 0)
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
    outbox = Outbox(tmp_path, "sqlite:///m.db")
    entry = Entry("x", "sqlite:///mlflow.db", "1", "run", 0, ["host", 1, 0.0])
    outbox.save(entry)
    monkeypatch.setattr(Path, "write_text", _full)
    with pytest.raises(DiskError, match="cannot write to .*x: No space left on device"):
        outbox.save(replace(entry, status="FINISHED"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["run.json"]
    assert (found := outbox.find("x")) is not None
    assert found.status == "RUNNING"


def test_an_entry_that_contradicts_itself_is_not_sent() -> None:
    points = [["latency_ms_p50", 9.0, 0, 0], ["latency_ms_p95", 1.0, 0, 0]]
    with pytest.raises(ConfigError, match="^its metrics: latency_ms_p95 must be no less than"):
        read_entry(json.dumps({**asdict(MINE), "metrics": points}))
    shown_last = [["latency_ms_p95", 1.0, 0, 7], ["latency_ms_p50", 9.0, 0, 0], ["latency_ms_p95", 9.5, 0, 0]]
    with pytest.raises(ConfigError, match="^its metrics: latency_ms_p95 must be no less than"):
        read_entry(json.dumps({**asdict(MINE), "metrics": shown_last}))
    with pytest.raises(ConfigError, match="^its end_ms is before its start_ms$"):
        read_entry(json.dumps({**asdict(MINE), "start_ms": 5, "end_ms": 4}))
