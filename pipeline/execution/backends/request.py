"""One request in the fleet, and the rules by which requests are taken in. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.tasks import Task


class Request:
    """One request in the fleet."""

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
        self.tenant = tenant
        self.arrival_s = arrival_s
        self.deadline_s = deadline_s
        self.ratios = ratios
        """What each of its stages takes ÷ what is predicted, where it is simulated."""
        self.stage = 0
        """Of all stages: the one that it is at."""
        self.location: str | None = None
        """The device that holds what its stage takes in."""
        self.life = 0
        """Of that device, when it came there."""
        self.queued_s = arrival_s
        """When its stage became ready; on a device that it was sent to, when it came there."""
        self.runs = 0
        """How often a stage of it was begun: what an earlier run of a lost one says is stale."""
        self.began_s = 0.0
        """When the last of these was begun."""
        self.task: Task | None = None
        self.blocked_s = math.nan
        """When what it now waits with became ready, if it was ever told to wait for a device."""
        self.block = 0
        """Which wait for a device it is: what would have ended an earlier one is stale."""


@dataclass(frozen=True)
class AdmissionRules:
    """What a backend's config says of how requests are taken in, whichever way stages are run."""

    cpu_per_task: float
    """CPUs that a task is taken to need, for the scheduler's load."""
    max_requests: int
    """In the fleet at once; those that arise beyond are rejected, so that overload has an end."""
    max_wait_s: float
    """For which a task is kept that no device takes; then its request is refused."""
