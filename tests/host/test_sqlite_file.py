"""A SQLite file may hold tables; what runs by itself in one is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.host.sqlite_file import require_plain


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create view v as select 1", "view v"),
        ("create trigger t after insert on runs begin update runs set a = -7; end", "trigger t"),
        ("create virtual table f using fts5(a)", "table f"),
        ("create table g (a int, b generated always as (hex(zeroblob(450000000))))", "column g.b"),
        ("create table g (a int, b as (a + 1) stored)", "column g.b"),
    ],
)
def test_what_runs_by_itself_is_named(statement: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "a b?.db"
    with sqlite3.connect(path) as file:
        file.execute("create table runs (a int)")
        file.execute("create table secrets (a int)")
        file.execute("create trigger own before update on secrets begin select 1; end")
    require_plain("sweep.storage", path)
    with sqlite3.connect(path) as file:
        file.execute(statement)
    with pytest.raises(
        ConfigError, match=f"^sweep.storage: .* must hold tables only, and it has the {named}$"
    ):
        require_plain("sweep.storage", path)


def test_no_file_is_fine(tmp_path: Path) -> None:
    require_plain("sweep.storage", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
