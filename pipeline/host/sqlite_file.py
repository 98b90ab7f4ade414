"""A SQLite file that somebody else may have written: its tables hold rows, and nothing else. Shell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from pipeline.domain.checks import require
from pipeline.domain.printable import printable

UNUSED = "('secrets', 'spans')"
"""Tables of MLflow's with a trigger or a generated column; nothing of this project reads or writes them."""
STRANGE = f"""
select type || ' ' || name from sqlite_master
where type = 'view' or (type = 'trigger' and tbl_name not in {UNUSED})
   or (type = 'table' and sql like 'create virtual%')
union all
select 'column ' || m.name || '.' || x.name from sqlite_master m, pragma_table_xinfo(m.name) x
where m.type = 'table' and m.sql not like 'create virtual%' and m.name not in {UNUSED} and x.hidden in (2, 3)
limit 1
"""
"""What runs by itself when a table is read or written: it may never end, or write other values."""


def require_plain(key: str, path: Path) -> None:
    """Raise ConfigError, naming the key, for views, triggers, virtual tables and generated columns.

    Raises sqlite3.Error for what is no SQLite file. A missing or empty file is fine.
    """
    if not path.is_file():
        return
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as file:
        found = [str(row[0]) for row in file.execute(STRANGE)]
    shown = printable("".join(found))
    require(not found, f"{key}: {path} must hold tables only, and it has the {shown:.100}")
