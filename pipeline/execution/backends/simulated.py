"""Run plans as discrete events over the measured profile.

A stage takes what the profile predicts, times a ratio drawn from those that the profile saw. Nothing is
computed and no clock is read but to time the scheduler; the same job and seed give the same records.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import require_number, require_whole
from pipeline.domain.records import Records
from pipeline.execution.backends.events import Events, Finished
from pipeline.execution.backends.fixed_pipeline import pipelined
from pipeline.execution.backends.request import AdmissionRules, Request
from pipeline.execution.backends.service_times import ServiceTimes
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """How a run is simulated."""

    seed: int = 0
    """Of the times that stages take."""
    cpu_per_task: float = 0.1
    """CPUs that a task is taken to need (AMP4EC: 0.1 to 0.2), for the scheduler's load."""
    max_requests: int = 10_000
    """In the fleet at once; those that arise beyond are rejected, so that overload has an end."""
    max_wait_s: float = 60.0
    """For which a task is kept that no device takes; then its request is refused."""
    computes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("backend", "seed", self.seed)
        require_number("backend", "cpu_per_task", self.cpu_per_task, least=0)
        require_whole("backend", "max_requests", self.max_requests, least=1)
        require_number("backend", "max_wait_s", self.max_wait_s, least=0)

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Let every request arise and see it through.

        Raises ConfigError where a stage fits no device that it may run on.
        """
        work = deploy(job.services)
        return pipelined(job, work, seed=self.seed, max_requests=self.max_requests) or _by_events(
            self, job, scheduler, work
        )


class _Simulation(Events):
    """Stages that take what the profile predicts, times a ratio."""

    measurement = "simulated"

    def __init__(
        self, settings: Simulated, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
    ) -> None:
        super().__init__(
            AdmissionRules(settings.cpu_per_task, settings.max_requests, settings.max_wait_s),
            job,
            scheduler,
            work,
        )
        self._times = ServiceTimes(settings.seed, job, work)
        self._dispatch_s = [job.services[w.service].problem.profile.dispatch_s for w in work]
        self._finishing: list[tuple[float, int, Finished]] = []
        self._begun = 0

    def start(self, request: Request, device: str) -> None:
        """What will come of it is known at once."""
        work = self.work[request.stage]
        began_s = request.began_s = self.now_s + self._dispatch_s[request.stage]
        ended_s = began_s + work.seconds[device] * request.ratios[work.stage]
        self._begun += 1  # of two that finish at the same time the first begun comes first
        finished = Finished(request, device, request.runs, began_s, ended_s, math.nan)
        heappush(self._finishing, (ended_s, self._begun, finished))

    def poll(self, due_s: float) -> Finished | None:
        """The next to finish, if it does so by then."""
        if self._finishing and self._finishing[0][0] <= due_s:
            return heappop(self._finishing)[2]
        return None

    def ratios(self, requests: int) -> Sequence[Sequence[float]]:
        """Drawn from those that the profile saw."""
        drawn: list[list[float]] = self._times.draw(requests).tolist()
        return drawn

    def clock_s(self, event_s: float) -> float:
        """The event's own."""
        return event_s


def _by_events(
    settings: Simulated, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
) -> Records:
    run = _Simulation(settings, job, scheduler, work)
    # A run makes no cycles; the collector would look through all its requests and rows again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        run.run()
    finally:
        if collecting:
            gc.enable()
    return run.records()
