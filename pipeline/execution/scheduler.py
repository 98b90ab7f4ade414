"""The interface of a scheduler. Pure."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline.domain.tasks import Decision, Task
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job


class Scheduler(Protocol):
    """Chooses the device that runs a stage. Frozen: the fleet's state belongs to the backend."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign the task to a device, put it off, or refuse it."""
        ...


@runtime_checkable
class Clairvoyant(Protocol):
    """A scheduler that needs the whole run in advance. No real fleet can have one: it is for comparison."""

    def foreseeing(self, job: Job) -> Scheduler:
        """The scheduler for this one run."""
        ...


def scheduler_for(job: Job, scheduler: Scheduler) -> Scheduler:
    """The scheduler to run a job with: a clairvoyant one made for the job, any other as it is."""
    return scheduler.foreseeing(job) if isinstance(scheduler, Clairvoyant) else scheduler
