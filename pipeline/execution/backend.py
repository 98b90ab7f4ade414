"""What a backend must be able to do. Pure."""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.records import Records
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler


class Backend(Protocol):
    """Runs plans."""

    @property
    def computes(self) -> bool:
        """Whether it runs the model, and so needs inputs."""
        ...

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Run every request through its service's stages and say what happened.

        The scheduler places every stage that its plan leaves on auto.
        """
        ...
