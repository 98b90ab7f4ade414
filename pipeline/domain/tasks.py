"""The question that a scheduler is asked, and its answers. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple


class Task(NamedTuple):
    """One stage of one request, ready to run. A tuple, since a simulation makes many."""

    request: int
    stage: int
    """Its number among all stages of all services (`Job.services`)."""
    cpu_need: float
    """CPUs it takes while it runs."""
    memory_need_bytes: float
    input_bytes: int
    location: str | None
    """The device that holds its input; None: wherever it runs."""
    tenant: str = "default"
    arrival_s: float = 0.0
    """When its request arose."""
    deadline_s: float = math.inf
    """When its request must be answered."""


class Assign(NamedTuple):
    """Run the task on this device, after what it was given before."""

    device: str


class Wait(NamedTuple):
    """Ask again at that time (seconds from the run's start); inf: when a task ends or a device is back."""

    until_s: float


class Refuse(NamedTuple):
    """The task cannot run at all, and why."""

    reason: str


Decision = Assign | Wait | Refuse
