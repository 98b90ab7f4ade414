"""Run plans as discrete events over the measured profile.

A stage takes what the profile predicts, times a ratio drawn from those that the profile saw. Nothing is
computed and no clock is read but to time the scheduler; the same job and seed give the same records.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.backends.events import COMPUTE, OK, TRANSFER, Events, Finished, Request, Rules, records_table
from pipeline.deployment import Work, arrivals, deploy
from pipeline.domain import AUTO, Job, Records, require_number, require_whole

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

    def run(self, job: Job) -> Records:
        """Let every request arise and see it through.

        Raises ConfigError where a stage fits no device that it may run on.
        """
        work = deploy(job.services)
        return _pipelined(self, job, work) or _by_events(self, job, work)


class _Times:
    """What each stage of each request takes ÷ what the profile predicts, drawn block by block."""

    def __init__(self, seed: int, job: Job, work: Sequence[Work]) -> None:
        self._random = np.random.default_rng(seed)
        self._stages = max(stage.stage for stage in work) + 1
        seen = {
            tuple(ratios) for service in job.services for ratios in service.problem.profile.variation.values()
        }
        self._ratios = np.array([ratio for ratios in sorted(seen) for ratio in ratios] or [1.0])

    def draw(self, requests: int) -> Floats:
        """(requests, stages of the longest plan)."""
        return self._random.choice(self._ratios, size=(requests, self._stages))


class _Simulation(Events):
    """Stages that take what the profile predicts, times a ratio."""

    measurement = "simulated"

    def __init__(self, settings: Simulated, job: Job, work: Sequence[Work]) -> None:
        super().__init__(Rules(settings.cpu_per_task, settings.max_requests, settings.max_wait_s), job, work)
        self._times = _Times(settings.seed, job, work)
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


def _by_events(settings: Simulated, job: Job, work: Sequence[Work]) -> Records:
    run = _Simulation(settings, job, work)
    # A run makes no cycles; the collector would look through all its requests and rows again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        run.run()
    finally:
        if collecting:
            gc.enable()
    return run.records()


def _pipelined(settings: Simulated, job: Job, work: Sequence[Work]) -> Records | None:
    """The records of an open loop through a fixed pipeline, a whole block of requests at a time.

    Where every stage has a device and a link of its own, nobody overtakes: each serves its requests in order
    of arrival. None where that does not hold, or where requests would be rejected.
    """
    devices = [stage.planned for stage in work]
    alone = len(job.services) == 1 and AUTO not in devices and len({*devices}) == len(devices)
    if not alone or job.outages or job.workload.concurrency is not None:
        return None
    pipeline = _Pipeline(settings, job, work)
    if pipeline.holds_more_than(settings.max_requests):
        return None
    end_s, kept = 0.0, [[np.empty(0)] * 12]
    for flow in pipeline.flows():
        end_s = flow.answered_s[-1]
        if job.sink is None:
            kept.append(pipeline.columns(flow))
        else:
            table = records_table(job, work, pipeline.columns(flow), pipeline.names)
            job.sink(Records(table, job.start_utc, window_s=0.0, reserved=(), measurement="simulated"))
    columns = [np.concatenate(column) for column in zip(*kept, strict=True)]
    return Records(
        table=records_table(job, work, columns, pipeline.names),
        start_utc=job.start_utc,
        window_s=max(float(end_s), job.workload.horizon_s),
        reserved=tuple(name for name in job.fleet.by_name if name in devices) if end_s else (),
        measurement="simulated",
    )


@dataclass(frozen=True, eq=False)
class _Flow:
    """A block of requests as they pass: by stage when each was ready, began and ended; links likewise."""

    number: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    arrival_s: Floats
    sent_s: Sequence[tuple[Floats, Floats, Floats] | None]
    ran_s: Sequence[tuple[Floats, Floats, Floats]]

    @property
    def answered_s(self) -> Floats:
        return self.ran_s[-1][2]


class _Pipeline:
    """A fixed pipeline and what flows through it, the same each time."""

    def __init__(self, settings: Simulated, job: Job, work: Sequence[Work]) -> None:
        self._settings, self._job, self._work = settings, job, work
        devices = [stage.planned for stage in work]
        senders = [job.fleet.source, *devices]
        self._links = [
            None if sender in (None, device) else job.fleet.link(str(sender), device)
            for sender, device in zip(senders, devices, strict=False)
        ]
        self.names = ["", *devices, *(f"{a}->{b}" for a, b in zip(senders, devices, strict=False))]

    def flows(self) -> Iterator[_Flow]:
        """The requests block by block, in order of arrival."""
        job, work = self._job, self._work
        times = _Times(self._settings.seed, job, work)
        dispatch_s = job.services[0].problem.profile.dispatch_s
        device_free_s, link_free_s = [0.0] * len(work), [0.0] * len(work)
        count = 0
        for block in arrivals(job, work):
            ready_s, ratios = block.arrival_s, times.draw(len(block))
            sent: list[tuple[Floats, Floats, Floats] | None] = []
            ran = []
            for k, (stage, link) in enumerate(zip(work, self._links, strict=True)):
                if link is None:
                    sent.append(None)
                else:
                    takes_s = np.full(len(block), stage.input_bytes / link.bandwidth_bytes_per_s)
                    sent_s = served_s(ready_s, takes_s, link_free_s[k])
                    link_free_s[k] = sent_s[-1]
                    sent.append((ready_s, sent_s - takes_s, sent_s + link.latency_s))
                    ready_s = sent_s + link.latency_s
                takes_s = stage.seconds[stage.planned] * ratios[:, k]
                end_s = served_s(ready_s, takes_s + dispatch_s, device_free_s[k])
                device_free_s[k] = end_s[-1]
                ran.append((ready_s, end_s - takes_s, end_s))
                ready_s = end_s
            yield _Flow(np.arange(count, count + len(block)), block.kind, block.arrival_s, sent, ran)
            count += len(block)

    def holds_more_than(self, requests: int) -> bool:
        """Whether so many are ever in the fleet at a time."""
        done, pending_s = 0, np.empty(0)
        for flow in self.flows():
            pending_s = np.concatenate([pending_s, flow.answered_s])
            answered = np.searchsorted(pending_s, flow.arrival_s, side="right")
            if (flow.number + 1 - done - answered).max() > requests:
                return True
            done += int(answered[-1])
            pending_s = pending_s[answered[-1] :]
        return False

    def columns(self, flow: _Flow) -> list[npt.NDArray[Any]]:
        """The columns of a block's rows, request by request."""
        rows: list[tuple[Any, ...]] = []
        for k, (sent, ran) in enumerate(zip(flow.sent_s, flow.ran_s, strict=True)):
            about = (flow.number, flow.kind, k)
            if sent is not None:
                where, num_bytes = 1 + len(self._work) + k, self._work[k].input_bytes
                rows.append((*about, TRANSFER, where, *sent, math.nan, num_bytes, OK, 0))
            rows.append((*about, COMPUTE, 1 + k, *ran, math.nan, 0, OK, 0))
        wide = (
            np.stack([np.broadcast_to(v, len(flow.number)) for v in column], axis=1)
            for column in zip(*rows, strict=True)
        )
        return [column.ravel() for column in wide]


def served_s(ready_s: Floats, takes_s: Floats, free_s: float) -> Floats:
    """When a server that is free at free_s is done with each task, in order, one at a time.

    end[i] = max(ready[i], end[i - 1]) + takes[i], unrolled (Lindley, 1952): with c the running sum of takes,
    end[i] = c[i] + max(free, max over j <= i of (ready[j] - c[j - 1])).
    """
    total_s = np.cumsum(takes_s)
    return np.asarray(total_s + np.maximum.accumulate(np.maximum(ready_s - (total_s - takes_s), free_s)))
