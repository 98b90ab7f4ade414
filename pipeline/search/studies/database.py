"""Studies in a database outlive a restart of it. Shell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from pipeline.domain.checks import first_line
from pipeline.domain.credentials import masked
from pipeline.host.sqlite_file import require_plain, sqlite_path

PATIENCE_S = 90.0
"""Seconds for which a database that has gone is waited for."""
PAUSE_S = 0.5
GONE = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.PendingRollbackError,  # Optuna tries another query on the same connection
)
"""What SQLAlchemy raises where a connection is lost or cannot be made; Optuna raises its own from it."""
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def database_storage(url: str) -> RDBStorage:
    """The storage of a database that answers now. Connections that a restart has closed are made anew."""
    if (path := sqlite_path("sweep.storage", url)) is not None:
        require_plain("sweep.storage", path)
    storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)  # `patiently` raises the rest
    sqlalchemy.event.listen(storage.engine, "do_connect", _connect)
    return storage


def patiently(attempt: Callable[[], _T]) -> _T:
    """What an operation on a study returns; made again where the database ended the connection under it.

    The operation must be such that a second one does no harm where the first was obeyed.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return attempt()
        except (StorageInternalError, *GONE) as error:
            gone = isinstance(error, GONE) or isinstance(error.__cause__, GONE)
            if not gone or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def _connect(dialect: Any, record: object, arguments: Sequence[Any], settings: dict[str, Any]) -> Any:
    """Connect; where the database has gone, wait for it, with a warning."""
    until, warned = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            return dialect.connect(*arguments, **settings)
        except dialect.loaded_dbapi.OperationalError as error:
            if time.monotonic() > until:
                raise
            if not warned:
                warned = True
                _log.warning("waiting for the database of the study: %s", masked(first_line(error)))
            time.sleep(PAUSE_S)
