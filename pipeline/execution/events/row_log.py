"""The rows of a run: kept to its end, or passed to the job's sink in parts. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.domain.records import Records
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.events.records_table import OK, Row, records_table
from pipeline.execution.events.request import Request
from pipeline.execution.job import Job

PART_ROWS = 65_536
"""Number of rows after which a part is passed to the job's sink, if it has one."""


class RowLog:
    """The rows so far, and the time of each scheduler decision."""

    def __init__(self, job: Job, work: Sequence[StageDeployment], measurement: str) -> None:
        self._job = job
        self._work = work
        self._measurement = measurement
        self._rows: list[Row] = []
        self._names = {"": 0}
        """Index of each name in the rows."""
        self.scheduling_s: list[float] = []
        """Seconds of each decision."""
        self._open: set[int] = set()
        """Numbers of the requests in progress."""
        self._most_rows = math.inf if job.sink is None else PART_ROWS

    def add(
        self, request: Request, what: int, where: str, start_s: float, end_s: float, cpu_s: float = math.nan,
        num_bytes: int = 0, status: int = OK, reason: str = "",
    ) -> None:  # fmt: skip
        """Add a row (see `Row`) about a request's current stage."""
        names = self._names
        self._rows.append(
            (
                request.number,
                request.kind,
                request.stage,
                what,
                names.setdefault(where, len(names)),
                request.queued_s,
                start_s,
                end_s,
                cpu_s,
                num_bytes,
                status,
                names.setdefault(reason, len(names)),
            )
        )

    def open(self, request: Request) -> None:
        """Begin a request: its rows are held back from the sink until `close`."""
        self._open.add(request.number)

    def close(self, request: Request) -> None:
        """End a request; its rows are complete."""
        self._open.discard(request.number)
        if len(self._rows) >= self._most_rows:
            self._hand_on()

    def records(self, **rest: Any) -> Records:
        """The records of the run, without the rows passed to the sink; rest: the other fields of Records."""
        if self._job.sink is not None:
            self._hand_on()
        return self._part(self._rows, **rest)

    def _hand_on(self) -> None:
        """Pass the rows of closed requests to the sink."""
        assert self._job.sink is not None
        done = [row for row in self._rows if row[0] not in self._open]
        self._job.sink(self._part(done, window_s=0.0, reserved=()))
        self._rows = [row for row in self._rows if row[0] in self._open]
        self.scheduling_s.clear()
        self._most_rows = len(self._rows) + PART_ROWS

    def _part(self, rows: Sequence[Row], **rest: Any) -> Records:
        columns = tuple(zip(*rows, strict=True)) or ((),) * 12
        return Records(
            table=records_table(self._job, self._work, columns, list(self._names)),
            start_utc=self._job.start_utc,
            measurement=self._measurement,
            scheduling_s=tuple(self.scheduling_s),
            **rest,
        )
