"""The state of one request in the fleet, and the requests of a job in order of arrival. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment, arrivals
from pipeline.execution.job import Job


class Request:
    """The state of one request in the fleet."""

    __slots__ = (
        "arrival_s",
        "began_s",
        "block",
        "blocked_s",
        "deadline_s",
        "kind",
        "life",
        "location",
        "number",
        "queued_s",
        "ratios",
        "runs",
        "stage",
        "task",
        "tenant",
    )

    def __init__(
        self,
        number: int,
        kind: int,
        tenant: str,
        arrival_s: float,
        deadline_s: float,
        ratios: Sequence[float],
    ) -> None:
        self.number = number
        self.kind = kind
        """Index of its class."""
        self.tenant = tenant
        self.arrival_s = arrival_s
        self.deadline_s = deadline_s
        self.ratios = ratios
        """Simulated time ÷ predicted time, by stage; empty where stages really run."""
        self.stage = 0
        """Index of its current stage among the stages of all services."""
        self.location: str | None = None
        """The device that holds the stage's input; None: the input is on every device."""
        self.life = 0
        """That device's life (`DeviceQueue.life`) when the input arrived there."""
        self.queued_s = arrival_s
        """Time at which the stage became ready or, after a transfer, at which its input arrived."""
        self.runs = 0
        """Number of stage runs that have begun. A result of any but the last run is stale."""
        self.began_s = 0.0
        """Begin of the last run."""
        self.task: Task | None = None
        self.blocked_s = math.nan
        """`queued_s` of the stage that has begun to wait for a device; NaN: none."""
        self.block = 0
        """Identifies that wait: the time-out of an earlier one is stale."""


def requests_of(
    job: Job, work: Sequence[StageDeployment], ratios: Callable[[int], Sequence[Sequence[float]]]
) -> Iterator[Request]:
    """The job's requests in order of arrival; ratios(count): `Request.ratios` of the next `count`."""
    number = 0
    tenants = [c.tenant for c in job.workload.classes]
    deadlines = [math.inf if c.deadline_s is None else c.deadline_s for c in job.workload.classes]
    for block in arrivals(job, work):
        drawn = ratios(len(block))
        for arrival_s, kind, own in zip(block.arrival_s.tolist(), block.kind.tolist(), drawn, strict=True):
            yield Request(number, kind, tenants[kind], arrival_s, arrival_s + deadlines[kind], own)
            number += 1
