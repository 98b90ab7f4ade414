"""Run plans as discrete events over the measured profile. Pure except for timing the scheduler.

A stage takes the time that the profile predicts, multiplied by a ratio drawn from the profile's variation.
No model is computed; the same job and seed give the same records.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.domain.checks import require_seed
from pipeline.domain.records import Records
from pipeline.execution.backends.fixed_pipeline import pipelined
from pipeline.execution.backends.service_times import ServiceTimes
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.events.device_queue import DeviceQueue
from pipeline.execution.events.event_loop import EventLoop
from pipeline.execution.events.request import Request
from pipeline.execution.events.settings import BackendSettings
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler


@dataclass(frozen=True)
class Simulated(BackendSettings):
    """The settings of a simulated run. Raises ConfigError for a value out of range."""

    seed: int = 0
    """Seed of the stage times."""
    computes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_seed("backend", self.seed)

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Simulate every request.

        Raises ConfigError where a stage fits no device that it may run on.
        """
        work = deploy(job.services)
        return pipelined(job, work, seed=self.seed, max_requests=self.max_requests) or simulate_events(
            self, job, scheduler, work
        )


def simulate_events(
    settings: Simulated, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
) -> Records:
    """Simulate a job event by event: for any plan and workload, but slower than `pipelined`."""
    run = _Simulation(settings, job, scheduler, work)
    # A run creates no reference cycles, and the collector would scan all requests and rows again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        run.run()
    finally:
        if collecting:
            gc.enable()
    return run.records()


class _Simulation(EventLoop):
    """An event loop in which the end of a stage is known when it begins."""

    measurement = "simulated"

    def __init__(
        self, settings: Simulated, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
    ) -> None:
        super().__init__(settings, job, scheduler, work)
        self._times = ServiceTimes(settings.seed, job, work)

    def start(self, request: Request, queue: DeviceQueue) -> tuple[float, float]:
        """The stage's predicted time × the request's ratio."""
        work = self.work[request.stage]
        return work.seconds[queue.name] * request.ratios[work.stage], math.nan

    def ratios(self, requests: int) -> Sequence[Sequence[float]]:
        """(requests, stages): ratios drawn from the profile's variation."""
        drawn: list[list[float]] = self._times.draw(requests).tolist()
        return drawn
