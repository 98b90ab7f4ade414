"""Run plans as discrete events over the measured profile: queues, links, pipelined stages, outages.

A device does one stage at a time, first come first served; a link carries one tensor at a time in each
direction, for its bytes ÷ bandwidth, and delivers its latency later. A stage takes what the profile predicts,
times a ratio drawn from those that the profile saw. Nothing is computed and no clock is read but to time the
scheduler; the same job and seed give the same records.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.deployment import Work, arrivals, deploy
from pipeline.domain import (
    AUTO,
    RECORD_COLUMNS,
    Assign,
    Job,
    Records,
    Refuse,
    Task,
    Wait,
    require_number,
    require_whole,
)
from pipeline.fleet_state import FleetState

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARRIVAL, DELIVERED, DONE, WAKE, GIVE_UP, GONE, BACK = range(7)
KINDS = ("compute", "transfer", "rejected")
STATUSES = ("ok", "failed", "lost")


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
        return _pipelined(self, job, work) or _Events(self, job, work).records()


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


Row = tuple[int, int, int, int, int, float, float, float, int, int, int]
"""request, its class, stage (of all), what (of KINDS), where (index of a text), queued_s, start_s, end_s,
bytes, status (of STATUSES), reason (index of a text)."""


def _table(job: Job, work: Sequence[Work], columns: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    """The records table of the columns of rows; texts become categories, which are small and quick."""
    whole = [np.asarray(column, dtype=np.int64) for column in (*columns[:5], *columns[8:])]
    request, kind, stage, what, where, num_bytes, status, reason = whole
    queued_s, start_s, end_s = (np.asarray(column, dtype=float) for column in columns[5:8])
    classes = job.workload.classes
    deadline_s = np.array([math.inf if c.deadline_s is None else c.deadline_s for c in classes])
    models = [service.problem.graph.name for service in job.services]
    table = {
        "request": request,
        "tenant": _named([c.tenant for c in classes], kind),
        "model": _named(models, np.array([w.service for w in work])[stage]),
        "deadline_s": deadline_s[kind],
        "stage": np.array([w.stage for w in work])[stage],
        "kind": _named(KINDS, what),
        "device": _named(names, where).remove_unused_categories(),
        "queued_s": queued_s,
        "start_s": start_s,
        "end_s": end_s,
        "cpu_s": np.nan,
        "bytes": num_bytes,
        "status": _named(STATUSES, status),
        "reason": _named(names, reason).remove_unused_categories(),
    }
    return pd.DataFrame(table, columns=list(RECORD_COLUMNS))


def _named(names: Sequence[str], codes: Ints) -> Any:
    """Names by their index; several indices may have the same name."""
    known = list(dict.fromkeys(names))
    places = np.array([known.index(name) for name in names], dtype=np.int64)
    return pd.Categorical.from_codes(places[codes], pd.Index(known))


class _Request:
    """One request in the fleet."""

    __slots__ = (
        "arrival_s",
        "began_s",
        "blocked_s",
        "deadline_s",
        "kind",
        "life",
        "location",
        "number",
        "queued_s",
        "stage",
        "task",
        "tenant",
        "times",
    )

    def __init__(
        self, number: int, kind: int, tenant: str, arrival_s: float, deadline_s: float, times: list[float]
    ) -> None:
        self.number = number
        self.kind = kind
        self.tenant = tenant
        self.arrival_s = arrival_s
        self.deadline_s = deadline_s
        self.times = times
        """What each of its stages takes ÷ what is predicted."""
        self.stage = 0
        """Of all stages: the one that it is at."""
        self.location: str | None = None
        """The device that holds what its stage takes in."""
        self.life = 0
        """Of that device, when it came there."""
        self.queued_s = arrival_s
        """When its stage became ready; on a device that it was sent to, when it came there."""
        self.began_s = 0.0
        self.task: Task | None = None
        self.blocked_s = math.nan
        """When what it now waits with became ready, if it was ever told to wait for a device."""


class _Events:
    """A run, event by event."""

    def __init__(self, settings: Simulated, job: Job, work: Sequence[Work]) -> None:
        self._settings = settings
        self._job = job
        self._work = work
        self._classes = job.workload.classes
        self._first = [  # stage of all stages, by class of request
            next(k for k, w in enumerate(work) if w.service == job.service_of(kind))
            for kind in range(len(self._classes))
        ]
        self._last = [k + 1 == len(work) or work[k + 1].stage == 0 for k in range(len(work))]
        self._dispatch_s = [job.services[w.service].problem.profile.dispatch_s for w in work]
        self._state = FleetState(job.fleet, work, job.intensity, job.services[0].problem.idle)
        self._times = _Times(settings.seed, job, work)
        self._requests = self._arising()
        self._heap: list[tuple[float, int, int, Any]] = []
        self._pushed = 0
        self._now_s = 0.0
        self._in_fleet = 0
        self._queues: dict[str, deque[_Request]] = {name: deque() for name in job.fleet.by_name}
        self._running: dict[str, _Request | None] = dict.fromkeys(job.fleet.by_name)
        self._away = dict.fromkeys(job.fleet.by_name, 0)
        """Outages of a device that now last."""
        self._lives = dict.fromkeys(job.fleet.by_name, 0)
        """How often a device was gone: what lay on it before is lost."""
        self._link_free_s: dict[tuple[str, str], float] = {}
        self._blocked: dict[int, deque[_Request]] = {k: deque() for k in range(len(work))}
        self._rows: list[Row] = []
        self._names = {"": 0}
        """Texts in the rows, by their index."""
        self._scheduling_s: list[float] = []
        self._end_s = 0.0

    def records(self) -> Records:
        """Run to the last event."""
        job, heap = self._job, self._heap
        for outage in job.outages:
            self._push(outage.at_s, GONE, outage.device)
            if outage.for_s < math.inf:
                self._push(outage.at_s + outage.for_s, BACK, outage.device)
        for _ in range(job.workload.concurrency or 1):
            self._next_arrival()
        handlers = (
            self._arrive,
            self._delivered,
            self._done,
            self._wake,
            self._give_up,
            self._gone,
            self._back,
        )
        advance = self._state.advance
        while heap:
            self._now_s, _, what, whom = heappop(heap)
            advance(self._now_s)
            handlers[what](whom)
        for queue in self._blocked.values():  # nothing more can happen that would free a device
            while queue:
                self._reject(queue.popleft(), "no device could take it to the end of the run")
        return self._collect()

    def _collect(self) -> Records:
        columns = tuple(zip(*self._rows, strict=True)) or ((),) * 11
        table = _table(self._job, self._work, columns, list(self._names))
        used = set(table.loc[table["kind"] == "compute", "device"])
        return Records(
            table=table,
            start_utc=self._job.start_utc,
            window_s=max(self._end_s, self._job.workload.horizon_s),
            reserved=tuple(name for name in self._job.fleet.by_name if name in used),
            measurement="simulated",
            scheduling_s=tuple(self._scheduling_s),
        )

    def _name(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def _push(self, at_s: float, what: int, whom: Any) -> None:
        self._pushed += 1  # of events at the same time the first pushed comes first
        heappush(self._heap, (at_s, self._pushed, what, whom))

    def _arising(self) -> Iterator[_Request]:
        number = 0
        tenants = [c.tenant for c in self._classes]
        deadlines = [math.inf if c.deadline_s is None else c.deadline_s for c in self._classes]
        for block in arrivals(self._job, self._work):
            times = self._times.draw(len(block)).tolist()
            for arrival_s, kind, own in zip(
                block.arrival_s.tolist(), block.kind.tolist(), times, strict=True
            ):
                yield _Request(number, kind, tenants[kind], arrival_s, arrival_s + deadlines[kind], own)
                number += 1

    def _next_arrival(self) -> None:
        request = next(self._requests, None)
        if request is None:
            return
        if self._job.workload.concurrency is not None:  # a closed loop: it arises now
            request.deadline_s += self._now_s
            request.arrival_s = request.queued_s = self._now_s
        self._push(request.arrival_s, ARRIVAL, request)

    def _arrive(self, request: _Request) -> None:
        if self._job.workload.concurrency is None:
            self._next_arrival()
        request.stage = self._first[request.kind]
        self._lies_on(request, self._job.fleet.source)
        self._in_fleet += 1
        if self._in_fleet > self._settings.max_requests:
            self._reject(request, f"{self._settings.max_requests} requests were in the fleet")
        else:
            self._ready(request)

    def _lies_on(self, request: _Request, device: str | None) -> None:
        """What its stage takes in is there, in the device's present life."""
        request.location = device
        request.life = 0 if device is None else self._lives[device]

    def _ready(self, request: _Request) -> None:
        """Its stage can begin: find it a device."""
        state, work = self._state, self._work[request.stage]
        if request.location is not None and self._lives[request.location] != request.life:
            # What it takes in is gone with the device: all over again.
            request.stage = self._first[request.kind]
            self._lies_on(request, self._job.fleet.source)
            work = self._work[request.stage]
        location = request.location
        task = request.task = Task(
            request.number,
            request.stage,
            self._settings.cpu_per_task,
            work.memory_need_bytes,
            work.input_bytes,
            location,
            request.tenant,
            request.arrival_s,
            request.deadline_s,
        )
        if work.planned != AUTO:
            if state.devices[work.planned].up:
                self._give(request, task, work.planned)
            else:
                self._wait(request, math.inf)
            return
        begin = time.perf_counter()
        decision = self._job.scheduler.decide(task, state)
        self._scheduling_s.append(time.perf_counter() - begin)
        if type(decision) is Assign:
            self._give(request, task, decision.device)
        elif type(decision) is Wait:
            self._wait(request, decision.until_s)
        else:
            assert isinstance(decision, Refuse)
            self._reject(request, decision.reason)

    def _wait(self, request: _Request, until_s: float) -> None:
        if until_s < math.inf:
            self._in_fleet -= 1  # it waits of its own accord: who keeps it is not the fleet
            self._push(max(until_s, self._now_s), WAKE, request)
            return
        self._blocked[request.stage].append(request)
        if request.blocked_s != request.queued_s:
            request.blocked_s = request.queued_s
            self._push(request.queued_s + self._settings.max_wait_s, GIVE_UP, (request, request.queued_s))

    def _wake(self, request: _Request) -> None:
        self._in_fleet += 1
        self._ready(request)

    def _give_up(self, told: tuple[_Request, float]) -> None:
        request, queued_s = told
        blocked = self._blocked[request.stage]
        if request.queued_s == queued_s and request in blocked:
            blocked.remove(request)
            self._reject(request, f"no device took it within {self._settings.max_wait_s:g} s")

    def _ask_blocked(self) -> None:
        """A device may now take what none could: ask again, first come first served, by stage."""
        for queue in self._blocked.values():
            while queue:
                head = queue.popleft()
                waiting = len(queue)
                self._ready(head)
                if len(queue) > waiting:  # still blocked, and so is who came after it
                    queue.rotate(1)
                    break

    def _give(self, request: _Request, task: Task, device: str) -> None:
        self._state.begin(task, device)
        sender, now_s = request.location, self._now_s
        if sender is None or sender == device:
            self._enqueue(request, device)
            return
        link = self._job.fleet.link(sender, device)
        assert link is not None, "a scheduler assigned to a device that cannot be reached"
        pair = (sender, device)
        start_s = max(now_s, self._link_free_s.get(pair, 0.0))
        sent_s = self._link_free_s[pair] = start_s + task.input_bytes / link.bandwidth_bytes_per_s
        end_s = sent_s + link.latency_s
        self._rows.append(
            (
                request.number, request.kind, request.stage, 1, self._name(f"{sender}->{device}"),
                request.queued_s, start_s, end_s, task.input_bytes, 0, 0,
            )
        )  # fmt: skip
        self._push(end_s, DELIVERED, (request, device))

    def _delivered(self, what: tuple[_Request, str]) -> None:
        request, device = what
        request.queued_s = self._now_s
        if self._state.devices[device].up:
            self._enqueue(request, device)
        else:
            self._lose(request, device)

    def _enqueue(self, request: _Request, device: str) -> None:
        if self._running[device] is None:
            self._start(request, device)
        else:
            self._queues[device].append(request)

    def _start(self, request: _Request, device: str) -> None:
        work = self._work[request.stage]
        self._running[device] = request
        request.began_s = self._now_s + self._dispatch_s[request.stage]
        takes_s = work.seconds[device] * request.times[work.stage]
        self._push(request.began_s + takes_s, DONE, (request, device, request.began_s))

    def _done(self, what: tuple[_Request, str, float]) -> None:
        request, device, began_s = what
        if self._running[device] is not request or request.began_s != began_s:  # it was lost meanwhile
            return
        stage, now_s = request.stage, self._now_s
        self._rows.append(
            (
                request.number, request.kind, stage, 0, self._name(device), request.queued_s, began_s, now_s,
                0, 0, 0,
            )
        )  # fmt: skip
        assert request.task is not None
        self._state.end(request.task, device, now_s - began_s)
        queue = self._queues[device]
        if queue:
            self._start(queue.popleft(), device)
        else:
            self._running[device] = None
        if self._last[stage]:
            self._leave()
        else:
            request.queued_s, request.stage = now_s, stage + 1
            self._lies_on(request, device)
            self._ready(request)
        if any(self._blocked.values()):
            self._ask_blocked()

    def _leave(self) -> None:
        self._in_fleet -= 1
        self._end_s = self._now_s
        if self._job.workload.concurrency is not None:
            self._next_arrival()

    def _reject(self, request: _Request, reason: str) -> None:
        now_s = self._now_s
        self._rows.append(
            (
                request.number, request.kind, request.stage, 2, 0, request.queued_s, now_s, now_s, 0, 1,
                self._name(reason),
            )
        )  # fmt: skip
        self._leave()

    def _gone(self, device: str) -> None:
        """A device disappears; what it was given goes elsewhere."""
        self._away[device] += 1
        self._lives[device] += 1
        self._state.set_up(device, False)
        running, queue = self._running[device], self._queues[device]
        lost = [*([] if running is None else [running]), *queue]
        self._running[device] = None
        queue.clear()
        for request in lost:
            self._lose(request, device, began=request is running)

    def _lose(self, request: _Request, device: str, *, began: bool = False) -> None:
        """A task is taken from a device that is gone; who sent its input still has it."""
        now_s = self._now_s
        begin_s = min(request.began_s, now_s) if began else now_s
        self._rows.append(
            (
                request.number, request.kind, request.stage, 0, self._name(device), request.queued_s, begin_s,
                now_s, 0, 2, self._name(f"{device} is gone"),
            )
        )  # fmt: skip
        assert request.task is not None
        self._state.end(request.task, device, None)
        request.queued_s = now_s
        self._ready(request)

    def _back(self, device: str) -> None:
        self._away[device] -= 1
        if self._away[device]:  # another outage of its own still lasts
            return
        self._state.set_up(device, True)
        self._ask_blocked()


def _pipelined(settings: Simulated, job: Job, work: Sequence[Work]) -> Records | None:
    """The records of an open loop through a fixed pipeline, a whole block of requests at a time.

    Where every stage has a device and a link of its own, nobody overtakes: each serves its requests in order
    of arrival. None where that does not hold, or where requests would be rejected.
    """
    devices = [stage.planned for stage in work]
    alone = len(job.services) == 1 and AUTO not in devices and len({*devices}) == len(devices)
    if not alone or job.outages or job.workload.concurrency is not None:
        return None
    fleet, dispatch_s = job.fleet, job.services[0].problem.profile.dispatch_s
    times = _Times(settings.seed, job, work)
    senders = [fleet.source, *devices]
    links = [
        None if sender in (None, device) else fleet.link(str(sender), device)
        for sender, device in zip(senders, devices, strict=False)
    ]
    names = ["", *devices, *(f"{a}->{b}" for a, b in zip(senders, devices, strict=False))]
    device_free_s, link_free_s = [0.0] * len(work), [0.0] * len(work)
    columns: list[list[npt.NDArray[Any]]] = [[] for _ in range(11)]
    answered_s, count = np.empty(0), 0
    for block in arrivals(job, work):
        number = np.arange(count, count + len(block))
        ready_s, ratios = block.arrival_s, times.draw(len(block))
        steps: list[tuple[Any, ...]] = []
        for k, (stage, link) in enumerate(zip(work, links, strict=True)):
            if link is not None:
                takes_s = np.full(len(block), stage.input_bytes / link.bandwidth_bytes_per_s)
                sent_s = served_s(ready_s, takes_s, link_free_s[k])
                link_free_s[k] = sent_s[-1]
                start_s, end_s = sent_s - takes_s, sent_s + link.latency_s
                where = 1 + len(work) + k
                steps.append(
                    (number, block.kind, k, 1, where, ready_s, start_s, end_s, stage.input_bytes, 0, 0)
                )
                ready_s = end_s
            takes_s = stage.seconds[stage.planned] * ratios[:, k]
            end_s = served_s(ready_s, takes_s + dispatch_s, device_free_s[k])
            device_free_s[k] = end_s[-1]
            steps.append((number, block.kind, k, 0, 1 + k, ready_s, end_s - takes_s, end_s, 0, 0, 0))
            ready_s = end_s
        answered_s = np.concatenate([answered_s, ready_s])
        in_fleet = number + 1 - np.searchsorted(answered_s, block.arrival_s, side="right")
        if in_fleet.max() > settings.max_requests:
            return None
        for column, values in zip(columns, zip(*steps, strict=True), strict=True):
            column.append(np.stack([np.broadcast_to(v, len(block)) for v in values], axis=1).ravel())
        count += len(block)
    if not count:
        return None
    return Records(
        table=_table(job, work, [np.concatenate(column) for column in columns], names),
        start_utc=job.start_utc,
        window_s=max(float(answered_s[-1]), job.workload.horizon_s),
        reserved=tuple(name for name in fleet.by_name if name in devices),
        measurement="simulated",
    )


def served_s(ready_s: Floats, takes_s: Floats, free_s: float) -> Floats:
    """When a server that is free at free_s is done with each task, in order, one at a time.

    end[i] = max(ready[i], end[i - 1]) + takes[i], unrolled (Lindley, 1952): with c the running sum of takes,
    end[i] = c[i] + max(free, max over j <= i of (ready[j] - c[j - 1])).
    """
    total_s = np.cumsum(takes_s)
    return np.asarray(total_s + np.maximum.accumulate(np.maximum(ready_s - (total_s - takes_s), free_s)))
