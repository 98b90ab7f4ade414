"""What a scheduler must be able to do. Pure."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline.domain.tasks import Decision, Task
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job


class Scheduler(Protocol):
    """Who runs a stage. Frozen: the fleet's state belongs to the backend."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign the task to a device, wait, or refuse it."""
        ...


@runtime_checkable
class Clairvoyant(Protocol):
    """A scheduler that must know the whole run beforehand. No real fleet has one: it is for comparison."""

    def foreseeing(self, job: Job) -> Scheduler:
        """The scheduler for this one run."""
        ...


def scheduler_for(job: Job, scheduler: Scheduler) -> Scheduler:
    """The scheduler to run a job with: a clairvoyant one is told the job, any other stays as it is."""
    return scheduler.foreseeing(job) if isinstance(scheduler, Clairvoyant) else scheduler
