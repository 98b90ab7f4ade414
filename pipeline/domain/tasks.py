"""A task that a scheduler must place, and the decisions that it can take. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple


class Task(NamedTuple):
    """One stage of one request, ready to run. A tuple, as a simulation creates millions."""

    request: int
    stage: int
    """Index among all stages of all services (`execution.deployment.deploy`)."""
    cpu_need: float
    """CPUs that it occupies while it runs."""
    memory_need_bytes: float
    input_bytes: int
    location: str | None
    """Device that holds its input; None: the input is wherever the task runs."""
    tenant: str = "default"
    arrival_s: float = 0.0
    """Arrival of its request, in seconds from the run's start."""
    deadline_s: float = math.inf
    """Latest answer to its request, in seconds from the run's start."""


class Slot(NamedTuple):
    """A time in which a device is reserved for one stage of a request."""

    stage: int
    """Index among all stages of all services, like a task's."""
    device: str
    begin_s: float
    end_s: float


class Assign(NamedTuple):
    """Run the task on this device, after the tasks that it already has."""

    device: str
    slots: tuple[Slot, ...] = ()
    """Reserved for the later stages of its request; they replace the request's former ones."""


class Wait(NamedTuple):
    """Decide again at that time (seconds from the run's start); inf: when a task ends or a device returns."""

    until_s: float
    slots: tuple[Slot, ...] = ()
    """Reserved for the task and the later stages of its request; they replace the request's former ones."""


class Refuse(NamedTuple):
    """The task cannot run on any device, for this reason."""

    reason: str


Decision = Assign | Wait | Refuse
