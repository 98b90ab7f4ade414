"""A SQLite file that somebody else may have written: its tables hold rows, and nothing else. Shell.

SQLite runs what a schema's text says ("Defense Against The Dark Arts", sqlite.org/security.html). So each
text must be one of the few kinds that MLflow and Optuna write.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from pipeline.domain.checks import require
from pipeline.domain.printable import printable

JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""At the end of a journal that names another file (SQLite, pager.c); elsewhere it only begins one."""
MOST_ENTRIES = 10_000
TABLE = re.compile(r'create table (if not exists )?"?\w+"? ?\(.*')
INDEX = re.compile(r'create (unique )?index (if not exists )?"?\w+"? on "?\w+"? ?\([\w", ]+\)( ;)?')
VALUE = r"('[\w ]*'|\d+)"
PLAIN_CHECK = re.compile(rf'check ?\( ?"?\w+"?( ?= ?\d+| in \({VALUE}(, ?{VALUE})*\)) ?\)')
COMPUTED = re.compile(r"\b(check\b|as ?\(|generated\b|on conflict\b|default ?\()")
"""What computes values or drops rows by itself, in the text of a table."""
OF_MLFLOW = (
    "duration_ns bigint generated always as (end_time_unix_nano - start_time_unix_nano) stored",
    "create trigger prevent_secrets_aad_mutation before update on secrets for each row when "
    "old.secret_id != new.secret_id or old.secret_name != new.secret_name begin select raise(abort, "
    "'secret_id and secret_name are immutable (used as aad in encryption)'); end",
)
"""The only computed column and the only trigger of MLflow's: they read their own row."""


def sqlite_path(key: str, address: str) -> Path | None:
    """The file of an address such as sqlite:///a.db; None for another database's, or one in memory.

    Raises ConfigError for the form sqlite:///file:a.db?uri=true, which names its file in another way.
    """
    from sqlalchemy import make_url

    url = make_url(address)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    place = str(url.database)
    odd = place.startswith("file:") or "uri" in url.query
    require(not odd, f"{key}: name the SQLite file by its path, as in sqlite:///mlflow.db ({place!r:.100})")
    return Path(place)


def require_plain(key: str, path: Path) -> None:
    """Raise ConfigError, naming the key, for a file whose tables may do more than hold rows.

    Such are triggers, views, virtual tables, computed columns, indexes of expressions, checks other than a
    list of values, and a journal that names another file, which SQLite would delete.
    Raises sqlite3.Error for what is no SQLite file. A missing or empty file is fine.
    """
    path = path.resolve()  # SQLite's journal lies beside the file to which a link leads
    if not path.is_file():
        return
    journal = path.with_name(f"{path.name}-journal")
    interrupted = journal.is_file() and journal.stat().st_size > 0
    require(
        not (interrupted and _names_another_file(journal)),
        f"{key}: {journal} names another file, which SQLite would delete; move it away",
    )
    # A file of an interrupted write is restored by opening it; the first reader must be allowed to write.
    mode = "rw" if interrupted and os.access(path, os.W_OK) else "ro"
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True)) as file:
        entries = file.execute(
            f"select type, name, sql from sqlite_master limit {MOST_ENTRIES + 1}"
        ).fetchall()
    require(len(entries) <= MOST_ENTRIES, f"{key}: {path} has more than {MOST_ENTRIES:,} tables and indexes")
    for kind, name, text in entries:
        shown = printable(f"{kind} {name}")
        require(
            text is None or _is_plain(str(text)),
            f"{key}: {path} must hold the tables of MLflow or Optuna only, and it has the {shown:.100}",
        )


def _names_another_file(journal: Path) -> bool:
    with journal.open("rb") as file:
        file.seek(-min(len(JOURNAL_MAGIC), journal.stat().st_size), os.SEEK_END)
        return file.read() == JOURNAL_MAGIC


def _is_plain(text: str) -> bool:
    """Whether the text of a table or an index computes nothing."""
    text = " ".join(text.lower().split())
    for own in OF_MLFLOW:
        text = text.replace(own, "")
    if text == "" or "/*" in text or "--" in text:
        return text == ""
    if TABLE.fullmatch(text):
        return COMPUTED.search(PLAIN_CHECK.sub("", text)) is None
    return INDEX.fullmatch(text) is not None
