"""The interface of a scheduler. Pure."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline.domain.tasks import Decision, Task
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job


class Scheduler(Protocol):
    """Chooses the device that runs a stage. It is stateless: the backend keeps the fleet's state."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign the task to a device, let it wait, or refuse it."""
        ...


@runtime_checkable
class Clairvoyant(Protocol):
    """A scheduler that must know the whole run in advance: for comparison, as no real fleet can have one."""

    def foreseeing(self, job: Job) -> Scheduler:
        """The scheduler for this one run."""
        ...


@runtime_checkable
class CarbonWeighing(Protocol):
    """A scheduler that weighs carbon against other scores."""

    def weighing_carbon(self, weight: float) -> Scheduler:
        """The same scheduler with this weight of carbon, 0 to 1, and the others rescaled to the rest."""
        ...


def scheduler_for(job: Job, scheduler: Scheduler) -> Scheduler:
    """The scheduler for a job: from `foreseeing` if it is clairvoyant, else the scheduler itself."""
    return scheduler.foreseeing(job) if isinstance(scheduler, Clairvoyant) else scheduler
