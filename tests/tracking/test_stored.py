"""Runs read back from a real SQLite store: tables, files, the trials of a sweep and the tags of its front."""

from __future__ import annotations

import json
import math
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pandas as pd
import pytest
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError
from pipeline.tracking import mlflow_store
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, run, stored


def test_all_trials_of_a_sweep_are_found_page_by_page(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "_PAGE", 2)
    sweep = run(store, "sweep")
    trials = replace(store, parent_run_id=sweep, trial=0)
    assert list(store.children(sweep).columns) == ["run_id", "name", "status"]
    for number in range(5):
        with trials.open_run(f"trial {number}", {"model": "m"}, {"number": number}) as opened:
            opened.log_metrics({"latency_ms_p50": number})
        assert stored(store, opened.run_id).info.status == "RUNNING"  # held back until it is delivered
        store.deliver([opened.run_id])
    children = store.children(sweep)
    assert children["name"].tolist() == [f"trial {number}" for number in range(5)]
    assert children["metrics.latency_ms_p50"].tolist() == [0, 1, 2, 3, 4]
    assert children["params.number"].tolist() == ["0", "1", "2", "3", "4"]
    assert set(children["tags.model"]) == {"m"}
    assert set(children["status"]) == {"FINISHED"}


def test_a_run_is_found_by_the_begin_of_its_id(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    with replace(store, experiment="another").open_run("trial", {}, {}) as opened:
        pass
    run_id = opened.run_id
    for shown in (run_id, run_id[:8], run_id[:31]):
        assert store.stored(shown).run_id == run_id
    with pytest.raises(ConfigError, match="^run: the MLflow store has no run '0123456789'$"):
        store.stored("0123456789")
    alike = PagedList([stored(store, run_id)] * 2, None)
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *_: alike)
    with pytest.raises(
        ConfigError, match=f"^run: 2 runs have an id that begins with '{run_id[:6]}': {run_id}"
    ):
        store.stored(run_id[:6])


def test_a_table_is_read_back_to_every_digit_and_without_a_row(store: Tracking) -> None:
    """With categorical columns, as a ledger has; MLflow's own log_table treats one without rows as images."""
    thirds = pd.DataFrame({"device": pd.Categorical(["a", "b"]), "g": [1 / 3, 2e-13 / 3]})
    with store.open_run("tables", {}, {}) as opened:
        opened.log_table(thirds, "thirds.json")
        some = pd.DataFrame({"g": [1.0, math.inf], "h": [math.nan, 3], "i": ["2", None]})
        opened.log_table(some, "unknown.json")
        opened.log_table(thirds[:0], "empty.json")
    found = store.stored(opened.run_id)
    assert found.table("thirds.json").to_dict("list") == thirds.to_dict("list")
    assert json.loads(artifact(store, opened.run_id, "unknown.json"))["data"] == [
        [1.0, None, "2"],
        [None, 3.0, None],
    ]
    back = found.table("unknown.json")
    assert back["h"].dtype == float
    assert back["i"][0] == "2"
    assert list(found.table("empty.json")) == ["device", "g"]
    assert found.table("empty.json").empty
    with pytest.raises(ConfigError, match="tables.: has no other.json"):
        found.table("other.json")


@pytest.mark.parametrize(
    "content", ["", "{", '{"columns": ["g"], "data": [[1', "[1, 2]", '{"other": 1}', "a: [b"]
)
def test_what_a_run_keeps_and_nobody_can_read_is_named(store: Tracking, content: str) -> None:
    with store.open_run("torn", {}, {}) as opened:
        for name in ("ledger.json", "run.json", "config.yaml"):
            opened.log_text(content, name)
        opened.log_text(content, "records.parquet")
    found = store.stored(opened.run_id)
    with pytest.raises(ConfigError, match="torn.: its ledger.json cannot be read: "):
        found.table("ledger.json")
    with pytest.raises(ConfigError, match="its records.parquet cannot be read: ArrowInvalid"):
        found.table("records.json")
    if content != '{"other": 1}':
        with pytest.raises(ConfigError, match="its run.json cannot be read: "):
            found.json("run.json")
    if not content.startswith("{"):
        with pytest.raises(ConfigError, match="its config.yaml cannot be read: "):
            found.config("config.yaml")


def test_the_front_is_tagged_and_former_members_are_not(store: Tracking) -> None:
    sweep, other = run(store, "sweep"), run(store, "other sweep")
    a, b, c = (run(replace(store, parent_run_id=sweep)) for _ in range(3))
    apart = run(replace(store, parent_run_id=other))
    store.tag_front(other, [apart], [])
    store.tag_front(sweep, [a, b], [c])
    store.tag_front(sweep, [b, c], [a])
    store.tag_front(sweep, [c], [], "pareto_confident")
    store.tag_front(sweep, [], [c], "pareto_confident")
    tags = [stored(store, run_id).data.tags.get("pareto") for run_id in (a, b, c, apart)]
    assert tags == [None, "true", "true", "true"]
    assert "pareto_confident" not in stored(store, c).data.tags


def test_the_front_is_tagged_later_where_the_store_is_away(
    store: Tracking, away: Callable[[bool], None]
) -> None:
    sweep = run(store, "sweep of two")
    trial = replace(store, parent_run_id=sweep, trial=0)
    a, b = run(trial), run(trial)
    store.deliver([a, b])
    store.tag_front(sweep, [a], [b])
    away(True)
    store.tag_front(sweep, [b], [a])
    away(False)
    assert store.sync() == (2, 0, 0, 0)
    assert [stored(store, run_id).data.tags.get("pareto") for run_id in (a, b)] == [None, "true"]
    assert stored(store, b).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            '{"a": [' + "[]," * 600_000 + "[]]}",
            "it has 600003 lists and mappings, and at most 500000",
        ),
        ('{"a": "' + "-" * 10_000_000 + '"}', "it holds more than 10.0 MB unpacked"),
    ],
)
def test_json_that_takes_gigabytes_as_values_is_refused(store: Tracking, text: str, complaint: str) -> None:
    """A file of 75 MB, all of it empty lists, took 3.7 GB and half a minute."""
    with store.open_run("large", {}, {}) as opened:
        opened.log_text(text, "run.json")
    with pytest.raises(ConfigError, match=f"large.: its run.json cannot be read: {complaint}"):
        store.stored(opened.run_id).json("run.json")


def test_a_large_artifact_is_not_even_copied(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.open_run("large", {}, {}) as opened:
        opened.log_text("{}", "run.json")
    found = store.stored(opened.run_id)
    place = urlsplit(found.client.get_run(opened.run_id).info.artifact_uri).path
    with Path(place, "run.json").open("r+b") as file:
        file.truncate(6_000_000_000)  # a hole, which takes no room
    monkeypatch.setattr(type(found.client), "download_artifacts", pytest.fail)
    with pytest.raises(ConfigError, match=r"its run.json has 6000.0 MB, and at most 250.0 MB are read"):
        found.json("run.json")


def test_tables_in_json_have_that_limit_too(store: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tracking.stored.MOST_TABLE_BYTES", 100)
    with store.open_run("large", {}, {}) as opened:
        opened.log_table(pd.DataFrame({"g": range(10)}), "small.json")
        opened.log_table(pd.DataFrame({"g": range(100)}), "large.json")
    found = store.stored(opened.run_id)
    assert len(found.table("small.json")) == 10
    with pytest.raises(ConfigError, match=r"its large.json cannot be read: it holds more than 0.1 kB"):
        found.table("large.json")


def test_a_password_goes_to_no_address_that_a_database_names(
    store: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    with store.open_run("elsewhere", {}, {}) as opened:
        opened.log_text("text", "notes.txt")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/api/2.0/mlflow-artifacts/artifacts/x"
        with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (address, opened.run_id))
        found = store.stored(opened.run_id)
        with pytest.raises(ConfigError, match="names a foreign place for its artifacts"):
            found.json("notes.txt")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_run_cannot_control_a_terminal(store: Tracking) -> None:
    tags = {"model": "m\x1b[2J"}
    with store.open_run("name\x1b]0;title\x07", tags, {"fleet": "\x1b[31mred"}) as opened:
        opened.log_text(json.dumps({"key\x1b": ["\x1b[31m"]}), "run.json")
        opened.log_text('name: "\\e[31mred"', "config.yaml")
        opened.log_table(pd.DataFrame({"device": ["\x1b[31m"], "g": [1.0]}), "table.json")
    found = store.stored(opened.run_id)
    texts = [
        found.name,
        *found.tags.values(),
        *found.params.values(),
        *map(str, found.table("table.json").iloc[0]),
    ]
    texts += [*found.json("run.json"), *found.json("run.json")["key�"], found.config("config.yaml")["name"]]
    assert [text for text in texts if "\x1b" in text or "\x07" in text] == []
    assert found.name == "name�]0;title�"


def test_what_a_store_does_not_give_is_one_line(store: Tracking) -> None:
    with store.open_run("broken", {}, {}) as opened:
        opened.log_text("{}", "run.json")
    path = Path(stored(store, opened.run_id).info.artifact_uri) / "run.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"run \w+ .broken.: its run.json cannot be"):
        store.stored(opened.run_id).json("run.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"run \w+ .broken.: has no run.json"):
        store.stored(opened.run_id).json("run.json")


def test_pages_that_come_for_ever_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "_LONGEST_LIST_S", 0.2)

    class Client:
        def search_runs(self, *args: object, **options: object) -> PagedList[object]:
            time.sleep(0.05)
            return PagedList([1], token=str(time.monotonic()))

    with pytest.raises(ConfigError, match=r"listing its runs takes over 0\.2 s"):
        [*mlflow_store.search(cast("MlflowClient", Client()), "1", "")]


def test_pages_without_an_end_are_refused() -> None:
    class Client:
        def search_runs(self, *args: object, **options: object) -> PagedList[object]:
            return PagedList([1], token="the same")

    with pytest.raises(ConfigError, match="the store's list of runs has no end"):
        [*mlflow_store.search(cast("MlflowClient", Client()), "1", "")]
