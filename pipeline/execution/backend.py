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
        """Whether it computes the model, and so needs inputs."""
        ...

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Run every request through its service's stages; returns one record for each task and transfer.

        The scheduler places every stage whose plan leaves its device on auto.
        """
        ...
