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

Ints = npt.NDArray[np.int32]
Rows = npt.NDArray[np.void]
"""(rows,) of ROW."""

COMPUTE, TRANSFER, REJECTED = range(3)
KINDS = ("compute", "transfer", "rejected")
OK, FAILED, LOST = range(3)
STATUSES = ("ok", "failed", "lost")
ROW = np.dtype(
    [
        ("request", "q"),
        ("class", "i"),
        ("stage", "i"),  # among those of all services
        ("kind", "i"),  # of KINDS
        ("where", "i"),  # the device or link: index of a name
        ("queued_s", "d"),
        ("start_s", "d"),
        ("end_s", "d"),
        ("cpu_s", "d"),
        ("bytes", "q"),
        ("status", "i"),  # of STATUSES
        ("reason", "i"),  # index of a name
    ]
)
ROW_FORMAT = "=" + "".join(ROW[name].char for name in ROW.names or ())
"""Format of a ROW for the `struct` module, whose codes of types are NumPy's."""


def records_table(
    job: Job, work: Sequence[StageDeployment], rows: Rows, names: Sequence[str]
) -> pd.DataFrame:
    """The table with RECORD_COLUMNS from rows; names: the names by index.

    Names become categories, which are small and fast.
    """
    classes = job.workload.classes
    deadline_s = np.array([math.inf if c.deadline_s is None else c.deadline_s for c in classes])
    models = [service.problem.graph.name for service in job.services]
    table = {
        "tenant": _named([c.tenant for c in classes], rows["class"]),
        "model": _named(models, np.array([w.service for w in work])[rows["stage"]]),
        "deadline_s": deadline_s[rows["class"]],
        "stage": np.array([w.stage for w in work])[rows["stage"]],
        "kind": _named(KINDS, rows["kind"]),
        "device": _named(names, rows["where"]).remove_unused_categories(),
        "status": _named(STATUSES, rows["status"]),
        "reason": _named(names, rows["reason"]).remove_unused_categories(),
    }
    table |= {name: rows[name].copy() for name in RECORD_COLUMNS if name not in table}
    return pd.DataFrame(table, columns=list(RECORD_COLUMNS))


def _named(names: Sequence[str], codes: Ints) -> Any:
    """(rows,): the names of these indices, as categories; several indices may have the same name."""
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    places = np.array([known[name] for name in names], dtype=np.int64)
    return pd.Categorical.from_codes(places[codes], pd.Index(list(known)))
