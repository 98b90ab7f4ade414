"""The rows of a run: kept to its end, or passed to the job's sink in parts. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.domain.records import Records
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.events.records_table import OK, ROW, ROW_FORMAT, Rows, records_table
from pipeline.execution.events.request import Request
from pipeline.execution.job import Job

PART_ROWS = 65_536
"""Number of rows after which a part is passed to the job's sink, if it has one."""
_packed = struct.Struct(ROW_FORMAT).pack


class RowLog:
    """The rows so far, and the time of each scheduler decision.

    Rows are packed bytes, a third of the size of Python's tuples, and become an array as they are.
    """

    def __init__(self, job: Job, work: Sequence[StageDeployment], measurement: str) -> None:
        self._job = job
        self._work = work
        self._measurement = measurement
        self._rows = bytearray()
        self._names = {"": 0}
        """Index of each name in the rows."""
        self.scheduling_s: list[float] = []
        """Seconds of each decision."""
        self._open: set[int] = set()
        """Numbers of the requests in progress."""
        self._most_bytes = math.inf if job.sink is None else PART_ROWS * ROW.itemsize

    def add(
        self, request: Request, kind: int, where: str, start_s: float, end_s: float, cpu_s: float = math.nan,
        num_bytes: int = 0, status: int = OK, reason: str = "",
    ) -> None:  # fmt: skip
        """Add a row (see ROW) about a request's current stage."""
        names = self._names
        self._rows += _packed(
            request.number,
            request.kind,
            request.stage,
            kind,
            names.setdefault(where, len(names)),
            request.queued_s,
            start_s,
            end_s,
            cpu_s,
            num_bytes,
            status,
            names.setdefault(reason, len(names)) if reason else 0,
        )

    def open(self, request: Request) -> None:
        """Begin a request: its rows are held back from the sink until `close`."""
        self._open.add(request.number)

    def close(self, request: Request) -> None:
        """End a request; its rows are complete."""
        self._open.discard(request.number)
        if len(self._rows) >= self._most_bytes:
            self._hand_on()

    def records(self, **rest: Any) -> Records:
        """The records of the run, without the rows passed to the sink; rest: the other fields of Records."""
        if self._job.sink is not None:
            self._hand_on()
        return self._part(np.frombuffer(self._rows, ROW), **rest)

    def _hand_on(self) -> None:
        """Pass the rows of closed requests to the sink."""
        assert self._job.sink is not None
        rows = np.frombuffer(self._rows, ROW)
        is_open = np.isin(rows["request"], list(self._open))
        self._rows = bytearray(rows[is_open].tobytes())
        self._job.sink(self._part(rows[~is_open], window_s=0.0, reserved=()))
        self.scheduling_s.clear()
        self._most_bytes = len(self._rows) + PART_ROWS * ROW.itemsize

    def _part(self, rows: Rows, **rest: Any) -> Records:
        return Records(
            table=records_table(self._job, self._work, rows, list(self._names)),
            start_utc=self._job.start_utc,
            measurement=self._measurement,
            scheduling_s=tuple(self.scheduling_s),
            **rest,
        )
