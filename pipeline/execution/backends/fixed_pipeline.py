"""Simulate an open loop through a fixed pipeline, a block of requests at a time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.domain.plan import AUTO
from pipeline.domain.records import Records
from pipeline.execution.backends.service_times import ServiceTimes
from pipeline.execution.deployment import StageDeployment, arrivals
from pipeline.execution.events.records_table import COMPUTE, ROW, TRANSFER, Rows, records_table
from pipeline.execution.job import Job

Floats = npt.NDArray[np.float64]


def pipelined(job: Job, work: Sequence[StageDeployment], *, seed: int, max_requests: int) -> Records | None:
    """The records of an open loop through a fixed pipeline; None for other jobs, or if requests are rejected.

    In a fixed pipeline every stage has a planned device and a link of its own, and there are no outages: no
    request overtakes another, and each device and link serves them in order of arrival.
    """
    devices = [stage.planned for stage in work]
    alone = len(job.services) == 1 and AUTO not in devices and len({*devices}) == len(devices)
    if not alone or job.outages or job.workload.concurrency is not None:
        return None
    pipeline = _Pipeline(seed, job, work)
    if pipeline.holds_more_than(max_requests):
        return None
    end_s, kept = 0.0, [np.empty(0, ROW)]
    for flow in pipeline.flows():
        end_s = flow.answered_s[-1]
        if job.sink is None:
            kept.append(pipeline.rows(flow))
        else:
            table = records_table(job, work, pipeline.rows(flow), pipeline.names)
            job.sink(Records(table, job.start_utc, window_s=0.0, reserved=(), measurement="simulated"))
    return Records(
        table=records_table(job, work, np.concatenate(kept), pipeline.names),
        start_utc=job.start_utc,
        window_s=max(float(end_s), job.workload.horizon_s),
        reserved=tuple(name for name in job.fleet.by_name if name in devices) if end_s else (),
        measurement="simulated",
    )


@dataclass(frozen=True, eq=False)
class _Flow:
    """A block of requests in the pipeline. Each array is (requests,)."""

    number: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    arrival_s: Floats
    sent_s: Sequence[tuple[Floats, Floats, Floats] | None]
    """Times at which the input was ready and its transfer began and ended, by stage; None: no transfer."""
    ran_s: Sequence[tuple[Floats, Floats, Floats]]
    """Times at which the stage was ready, began and ended, by stage."""

    @property
    def answered_s(self) -> Floats:
        return self.ran_s[-1][2]


class _Pipeline:
    """A fixed pipeline and its requests; every pass over `flows` yields the same blocks."""

    def __init__(self, seed: int, job: Job, work: Sequence[StageDeployment]) -> None:
        self._seed, self._job, self._work = seed, job, work
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
        times = ServiceTimes(self._seed, job, work)
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
                end_s = served_s(ready_s, takes_s, device_free_s[k])
                device_free_s[k] = end_s[-1]
                ran.append((ready_s, end_s - takes_s, end_s))
                ready_s = end_s
            yield _Flow(np.arange(count, count + len(block)), block.kind, block.arrival_s, sent, ran)
            count += len(block)

    def holds_more_than(self, requests: int) -> bool:
        """Whether more than that many requests are ever in the fleet at once."""
        done, pending_s = 0, np.empty(0)
        for flow in self.flows():
            pending_s = np.concatenate([pending_s, flow.answered_s])
            answered = np.searchsorted(pending_s, flow.arrival_s, side="right")
            if (flow.number + 1 - done - answered).max() > requests:
                return True
            done += int(answered[-1])
            pending_s = pending_s[answered[-1] :]
        return False

    def rows(self, flow: _Flow) -> Rows:
        """The rows of a block, request by request."""
        each = []
        for k, (sent, ran) in enumerate(zip(flow.sent_s, flow.ran_s, strict=True)):
            if sent is not None:
                each.append((k, TRANSFER, 1 + len(self._work) + k, *sent, self._work[k].input_bytes))
            each.append((k, COMPUTE, 1 + k, *ran, 0))
        rows = np.zeros((len(flow.number), len(each)), ROW)  # status OK, no reason
        rows["request"], rows["class"] = flow.number[:, None], flow.kind[:, None]
        rows["cpu_s"] = math.nan
        names = ("stage", "kind", "where", "queued_s", "start_s", "end_s", "bytes")
        for place, values in enumerate(each):
            for name, value in zip(names, values, strict=True):
                rows[name][:, place] = value
        return rows.ravel()


def served_s(ready_s: Floats, takes_s: Floats, free_s: float) -> Floats:
    """(tasks,): time at which a server that is free from free_s on ends each task, in order, one at a time.

    ready_s, takes_s: (tasks,), when each task is ready and its duration, in seconds.

    end[i] = max(ready[i], end[i - 1]) + takes[i], unrolled (Lindley, 1952): with c the running sum of takes,
    end[i] = c[i] + max(free, max over j <= i of (ready[j] - c[j - 1])).
    """
    total_s = np.cumsum(takes_s)
    return np.asarray(total_s + np.maximum.accumulate(np.maximum(ready_s - (total_s - takes_s), free_s)))
