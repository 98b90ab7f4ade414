"""A study in PostgreSQL outlives restarts of it, and nothing of it is lost or doubled."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, OperationalError

from pipeline.search.studies import database
from pipeline.search.studies.database import patiently
from pipeline.search.studies.study import Study
from tests.postgres import postgres
from tests.search.studies.test_study import OBJECTIVES, SPACE, answer, run

TRIALS, STOPS = 60, 3


def study(url: str, name: str, total: int = TRIALS) -> Study:
    settings: dict[str, Any] = {"sampler": "random", "sampler_options": {}, "seed": 7, "enqueue": []}
    return Study(SPACE, OBJECTIVES, storage=url, name=name, total=total, held={"a": "b"}, **settings)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.full
def test_a_study_outlives_a_database_that_goes_away(mode: str) -> None:
    with postgres() as server:
        whole = run(study(server.url, "whole"), batch_size=2)
        disturbed = study(server.url, "disturbed")

        def disturb() -> None:
            for _ in range(STOPS):
                time.sleep(1)
                server.stop(mode)
                time.sleep(0.5)
                server.start()
            over.set()

        over = threading.Event()
        restarts = threading.Thread(target=disturb)
        restarts.start()
        while not over.is_set() and (batch := disturbed.ask(2)):
            answer(disturbed, batch)
            time.sleep(0.1)
        over.wait()
        restarts.join()
        found = run(disturbed, batch_size=2)
        assert [(t.number, t.point, t.metrics) for t in found] == [
            (t.number, t.point, t.metrics) for t in whole
        ]


def test_only_a_connection_that_was_lost_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PAUSE_S", 0.0)
    failures: list[Exception] = []

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    def internal(cause: Exception) -> StorageInternalError:
        error = StorageInternalError("invalid data in the commit")
        error.__cause__ = cause
        return error

    gone, wrong = (kind("commit", {}, Exception("e")) for kind in (OperationalError, IntegrityError))
    failures += [gone, internal(gone)]
    assert patiently(attempt) == "done"
    failures += [internal(wrong)]
    with pytest.raises(StorageInternalError):
        patiently(attempt)
    monkeypatch.setattr(database, "PATIENCE_S", 0.0)
    failures += [internal(gone)]
    with pytest.raises(StorageInternalError):
        patiently(attempt)
