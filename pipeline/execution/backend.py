"""The interface of a backend. Pure."""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.records import Records
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler


class Backend(Protocol):
    """Runs the stages of requests on devices."""

    @property
    def computes(self) -> bool:
        """Whether it computes the model and therefore needs inputs."""
        ...

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Run every request through its service's stages; returns records with a row per task and transfer.

        The scheduler places every stage that is on auto in its plan. Raises ConfigError where a stage fits no
        device that it may run on.
        """
        ...
