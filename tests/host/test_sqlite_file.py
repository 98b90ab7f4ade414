"""A SQLite file may hold tables; what runs by itself in one is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.host.sqlite_file import JOURNAL_MAGIC, require_plain, sqlite_path

TRIGGER = "create trigger t after insert on runs begin update runs set a = -7; end"


def made(path: Path, *statements: str) -> Path:
    """A file with the table `runs`, and what the statements add."""
    with sqlite3.connect(path) as file:
        file.execute(
            "create table runs (a int, checked text default '0', status check (status in ('x', 'y z')))"
        )
        file.execute("create unique index i on runs (a, status desc)")
        for statement in statements:
            file.execute(statement)
    return path


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create view v as select 1", "view v"),
        (TRIGGER, "trigger t"),
        ("create virtual table f using fts5(a)", "table f"),
        ("create table g (a int, b generated always as (hex(zeroblob(450000000))))", "table g"),
        ("create table g (a int, b as (a + 1) stored)", "table g"),
        ("create table g (a int, b as/**/(a + 1))", "table g"),
        ("create table g (a unique on conflict replace)", "table g"),
        ("create table g (a int, check (hex(zeroblob(450000000)) > a))", "table g"),
        ("create table g (a int, b default (random()))", "table g"),
        ("create index g on runs (hex(zeroblob(a)))", "index g"),
        ("create index g on runs (a) where hex(zeroblob(a)) > 1", "index g"),
    ],
)
def test_what_runs_by_itself_is_named(statement: str, named: str, tmp_path: Path) -> None:
    path = made(tmp_path / "a b?.db")
    require_plain("sweep.storage", path)
    with sqlite3.connect(path) as file:
        file.execute(statement)
    with pytest.raises(
        ConfigError, match=f"^sweep.storage: .* the tables of MLflow or Optuna only, and it has the {named}$"
    ):
        require_plain("sweep.storage", path)


@pytest.mark.parametrize("kind", ["TRIGGER", "table", "index", "Trigger"])
def test_a_trigger_is_known_by_its_text(kind: str, tmp_path: Path) -> None:
    """SQLite runs a trigger that its schema lists as `TRIGGER`; what it is called matters to no check."""
    path = made(tmp_path / "a.db", TRIGGER)
    with sqlite3.connect(path) as file:
        file.execute("pragma writable_schema = 1")
        file.execute("update sqlite_master set type = ? where name = 't'", (kind,))
    with pytest.raises((ConfigError, sqlite3.DatabaseError), match=f"the {kind} t$|malformed"):
        require_plain("sweep.storage", path)


def test_other_triggers_on_the_tables_that_have_one_are_refused(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.db", "create table spans (a int)", TRIGGER.replace("insert on runs", "insert on spans")
    )
    with pytest.raises(ConfigError, match="the trigger t$"):
        require_plain("tracking.uri", path)


def test_a_study_of_optuna_is_fine(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'a.db'}")
    require_plain("sweep.storage", tmp_path / "a.db")


def test_no_file_is_fine(tmp_path: Path) -> None:
    require_plain("sweep.storage", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_journal_that_names_another_file_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    path, victim = made(tmp_path / "a.db"), tmp_path / "notes.txt"
    victim.write_text("mine")
    name = str(victim).encode()
    # SQLite, "Temporary Files": the other name stands at the end of the journal, with its length and sum.
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + JOURNAL_MAGIC
    (tmp_path / "a.db-journal").write_bytes(JOURNAL_MAGIC + bytes(504) + bytes(4) + end)
    with pytest.raises(ConfigError, match=r"a.db-journal names another file, which SQLite would delete"):
        require_plain("tracking.uri", path)
    assert victim.read_text() == "mine"


def test_the_journal_is_that_beside_the_file_to_which_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    made(tmp_path / "data" / "real.db")
    (tmp_path / "a.db").symlink_to("data/real.db")
    (tmp_path / "data" / "real.db-journal").write_bytes(JOURNAL_MAGIC + bytes(504) + JOURNAL_MAGIC)
    (tmp_path / "a.db-journal").write_bytes(bytes(16))
    with pytest.raises(ConfigError, match=r"real.db-journal names another file"):
        require_plain("tracking.uri", tmp_path / "a.db")


@pytest.mark.parametrize("address", ["sqlite:///file:a.db?uri=true", "sqlite:///a.db?uri=true"])
def test_an_address_that_names_its_file_in_another_way_is_refused(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^sweep.storage: name the SQLite file by its path, as in sqlite:///"
    ):
        sqlite_path("sweep.storage", address)
    assert sqlite_path("sweep.storage", "sqlite+pysqlite:////tmp/a.db") == Path("/tmp/a.db")
    assert sqlite_path("sweep.storage", "postgresql://h/db") is None


INTERRUPTED = """
import os, sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("pragma cache_size = 1")
file.execute("begin")
for k in range(2000):
    file.execute("insert into runs values (?, ?, 'x')", (k + 100, "text" * 50))
os._exit(9)
"""


def test_a_file_whose_writer_was_killed_is_read_as_it_was_before(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", "insert into runs values (7, '', 'x')")
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(path)], check=False)
    assert os.path.getsize(f"{path}-journal") > 0
    require_plain("tracking.uri", path)
    with sqlite3.connect(path) as file:
        assert file.execute("select a from runs").fetchall() == [(7,)]
