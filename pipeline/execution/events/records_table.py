"""The records table of a run, from its rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.records import RECORD_COLUMNS
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.job import Job

Ints = npt.NDArray[np.int64]

COMPUTE, TRANSFER, REJECTED = range(3)
KINDS = ("compute", "transfer", "rejected")
OK, FAILED, LOST = range(3)
STATUSES = ("ok", "failed", "lost")
Row = tuple[int, int, int, int, int, float, float, float, float, int, int, int]
"""request, its class, stage (among those of all services), kind (of KINDS), device or link (index of a name),
queued_s, start_s, end_s, cpu_s, bytes, status (of STATUSES), reason (index of a name)."""


def records_table(
    job: Job, work: Sequence[StageDeployment], columns: Sequence[Any], names: Sequence[str]
) -> pd.DataFrame:
    """The table with RECORD_COLUMNS from the columns of rows (see `Row`); names: the names by index.

    Names become categories, which are small and fast.
    """
    whole = [np.asarray(column, dtype=np.int64) for column in (*columns[:5], *columns[9:])]
    request, kind, stage, what, where, num_bytes, status, reason = whole
    queued_s, start_s, end_s, cpu_s = (np.asarray(column, dtype=float) for column in columns[5:9])
    classes = job.workload.classes
    deadline_s = np.array([math.inf if c.deadline_s is None else c.deadline_s for c in classes])
    models = [service.problem.graph.name for service in job.services]
    table = {
        "request": request,
        "tenant": _named([c.tenant for c in classes], kind),
        "model": _named(models, np.array([w.service for w in work])[stage]),
        "deadline_s": deadline_s[kind],
        "stage": np.array([w.stage for w in work])[stage],
        "kind": _named(KINDS, what),
        "device": _named(names, where).remove_unused_categories(),
        "queued_s": queued_s,
        "start_s": start_s,
        "end_s": end_s,
        "cpu_s": cpu_s,
        "bytes": num_bytes,
        "status": _named(STATUSES, status),
        "reason": _named(names, reason).remove_unused_categories(),
    }
    return pd.DataFrame(table, columns=list(RECORD_COLUMNS))


def _named(names: Sequence[str], codes: Ints) -> Any:
    """(rows,): the names of these indices, as categories; several indices may have the same name."""
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    places = np.array([known[name] for name in names], dtype=np.int64)
    return pd.Categorical.from_codes(places[codes], pd.Index(list(known)))
