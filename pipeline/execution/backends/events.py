"""A run as events: requests that arise, queues at devices and links, a scheduler that is asked, outages.

Written once for every backend. What a stage takes, and how it is run, is the backend's (`Events.start`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.domain.plan import AUTO
from pipeline.domain.records import Records
from pipeline.domain.tasks import Assign, Refuse, Task, Wait
from pipeline.execution.backends.records_table import (
    COMPUTE,
    FAILED,
    LOST,
    OK,
    REJECTED,
    TRANSFER,
    Row,
    records_table,
)
from pipeline.execution.backends.request import AdmissionRules, Request
from pipeline.execution.deployment import StageDeployment, arrivals
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler

Ints = npt.NDArray[np.int64]

PART_ROWS = 65_536
"""Rows after which they are handed on, where the job has a sink."""
ARRIVAL, DELIVERED, WAKE, GIVE_UP, GONE, BACK = range(6)


class Finished(NamedTuple):
    """A device has run a stage of a request."""

    request: Request
    device: str
    run: int
    """Which of the request's runs it was (`Request.runs`)."""
    began_s: float
    ended_s: float
    cpu_s: float


class Events(ABC):
    """A run, event by event: who arises, who goes where, who waits, what is lost.

    A device does one stage at a time, first come first served; a link carries one tensor at a time in each
    direction, for its bytes ÷ bandwidth, and delivers its latency later.
    """

    measurement: ClassVar[str]

    def __init__(
        self, rules: AdmissionRules, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
    ) -> None:
        self.job = job
        self._scheduler = scheduler
        self.work = work
        self.now_s = 0.0
        self.in_fleet = 0
        """Requests that have arisen and are not done, without those that wait of their own accord."""
        self._rules = rules
        self._classes = job.workload.classes
        self._first = [  # stage of all stages, by class of request
            next(k for k, w in enumerate(work) if w.service == job.service_of(kind))
            for kind in range(len(self._classes))
        ]
        self._last = [k + 1 == len(work) or work[k + 1].stage == 0 for k in range(len(work))]
        self._state = FleetState(job.fleet, work, job.intensity, job.services[0].problem.idle)
        self._requests = self._arising()
        self._heap: list[tuple[float, int, int, Any]] = []
        self._pushed = 0
        self._queues: dict[str, deque[Request]] = {name: deque() for name in job.fleet.by_name}
        self._running: dict[str, Request | None] = dict.fromkeys(job.fleet.by_name)
        self._away = dict.fromkeys(job.fleet.by_name, 0)
        """Outages of a device that now last."""
        self._lives = dict.fromkeys(job.fleet.by_name, 0)
        """How often a device was gone: what lay on it before is lost."""
        self._link_free_s: dict[tuple[str, str], float] = {}
        self._blocked: dict[int, deque[Request]] = {k: deque() for k in range(len(work))}
        """By stage: who waits until a device is free."""
        self._rows: list[Row] = []
        self._names = {"": 0}
        """Texts in the rows, by their index."""
        self._scheduling_s: list[float] = []
        self._end_s = 0.0
        self._used: set[str] = set()
        """Devices that computed."""
        self._open: set[int] = set()
        """Requests that are not done."""
        self._most_rows = math.inf if job.sink is None else PART_ROWS

    # --- how stages are run ---

    @abstractmethod
    def poll(self, due_s: float) -> Finished | None:
        """What a device has finished; None when it is `due_s`, or where nothing runs that could finish."""

    def idle(self) -> bool:
        """Whether no device runs a stage."""
        return not any(self._running.values())

    @abstractmethod
    def clock_s(self, event_s: float) -> float:
        """The time at which an event of that time is dealt with."""

    @abstractmethod
    def start(self, request: Request, device: str) -> None:
        """A device, which is free, begins the request's stage."""

    def send(self, request: Request, device: str) -> None:  # noqa: B027 not all backends move tensors
        """What the request's stage takes in leaves the place where it lies for a device."""

    def hold(self, request: Request) -> None:  # noqa: B027 nor hold them
        """The request waits, and with it what its stage takes in."""

    def ratios(self, requests: int) -> Sequence[Sequence[float]]:
        """What each stage of the next requests takes ÷ what is predicted."""
        return [()] * requests

    # --- what happens ---

    def run(self) -> None:
        """Go on to the last event."""
        for outage in self.job.outages:
            self._push(outage.at_s, GONE, outage.device)
            if outage.duration_s < math.inf:
                self._push(outage.at_s + outage.duration_s, BACK, outage.device)
        for _ in range(self.job.workload.concurrency or 1):
            self._next_arrival()
        handlers = (self._arrive, self._delivered, self._wake, self._give_up, self._gone, self._back)
        heap, advance = self._heap, self._state.advance
        while True:
            if not heap and any(self._blocked.values()) and self.idle():
                # Nothing more can happen that would free a device. In a closed loop others come instead.
                for queue in self._blocked.values():
                    while queue:
                        self._reject(queue.popleft(), "no device could take it to the end of the run")
            finished = self.poll(heap[0][0] if heap else math.inf)
            if finished is not None:
                self.now_s = self.clock_s(finished.ended_s)
                advance(self.now_s)
                self._done(finished)
            elif heap:
                due_s, _, what, whom = heappop(heap)
                self.now_s = self.clock_s(due_s)
                advance(self.now_s)
                handlers[what](whom)
            else:
                break

    def records(self, **rest: Any) -> Records:
        """What happened; rest: what else the backend knows."""
        if self.job.sink is not None:
            self._hand_on(self.job.sink)
        return self._part(
            self._rows,
            window_s=max(self._end_s, self.job.workload.horizon_s),
            reserved=tuple(name for name in self.job.fleet.by_name if name in self._used),
            **rest,
        )

    def _part(self, rows: Sequence[Row], **rest: Any) -> Records:
        columns = tuple(zip(*rows, strict=True)) or ((),) * 12
        return Records(
            table=records_table(self.job, self.work, columns, list(self._names)),
            start_utc=self.job.start_utc,
            measurement=self.measurement,
            scheduling_s=tuple(self._scheduling_s),
            **rest,
        )

    def _hand_on(self, sink: Callable[[Records], object]) -> None:
        """The rows of the requests that are done."""
        sink(self._part([row for row in self._rows if row[0] not in self._open], window_s=0.0, reserved=()))
        self._rows = [row for row in self._rows if row[0] in self._open]
        self._scheduling_s.clear()
        self._most_rows = len(self._rows) + PART_ROWS

    def is_last(self, stage: int) -> bool:
        """Whether a stage gives its service's answer."""
        return self._last[stage]

    def _push(self, at_s: float, what: int, whom: Any) -> None:
        self._pushed += 1  # of events at the same time the first pushed comes first
        heappush(self._heap, (at_s, self._pushed, what, whom))

    def _row(
        self, request: Request, what: int, where: str, start_s: float, end_s: float, cpu_s: float = math.nan,
        num_bytes: int = 0, status: int = OK, reason: str = "",
    ) -> None:  # fmt: skip
        names = self._names
        self._rows.append(
            (
                request.number,
                request.kind,
                request.stage,
                what,
                names.setdefault(where, len(names)),
                request.queued_s,
                start_s,
                end_s,
                cpu_s,
                num_bytes,
                status,
                names.setdefault(reason, len(names)),
            )
        )

    def _arising(self) -> Iterator[Request]:
        number = 0
        tenants = [c.tenant for c in self._classes]
        deadlines = [math.inf if c.deadline_s is None else c.deadline_s for c in self._classes]
        for block in arrivals(self.job, self.work):
            ratios = self.ratios(len(block))
            for arrival_s, kind, own in zip(
                block.arrival_s.tolist(), block.kind.tolist(), ratios, strict=True
            ):
                yield Request(number, kind, tenants[kind], arrival_s, arrival_s + deadlines[kind], own)
                number += 1

    def _next_arrival(self) -> None:
        request = next(self._requests, None)
        if request is None:
            return
        if self.job.workload.concurrency is not None:  # a closed loop: it arises now
            request.deadline_s += self.now_s
            request.arrival_s = request.queued_s = self.now_s
        self._push(request.arrival_s, ARRIVAL, request)

    def _arrive(self, request: Request) -> None:
        if self.job.workload.concurrency is None:
            self._next_arrival()
        request.stage = self._first[request.kind]
        self._lies_on(request, self.job.fleet.source)
        self._open.add(request.number)
        self.in_fleet += 1
        if self.in_fleet > self._rules.max_requests:
            self._reject(request, f"{self._rules.max_requests} requests were in the fleet")
        else:
            self._ready(request)

    def _lies_on(self, request: Request, device: str | None) -> None:
        """What its stage takes in is there, in the device's present life."""
        request.location = device
        request.life = 0 if device is None else self._lives[device]

    def _ready(self, request: Request) -> None:
        """Its stage can begin: find it a device."""
        if request.location is not None and self._lives[request.location] != request.life:
            # What it takes in is gone with the device: all over again.
            request.stage = self._first[request.kind]
            self._lies_on(request, self.job.fleet.source)
        state, work = self._state, self.work[request.stage]
        task = request.task = Task(
            request.number,
            request.stage,
            self._rules.cpu_per_task,
            work.memory_need_bytes,
            work.input_bytes,
            request.location,
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
        decision = self._scheduler.decide(task, state)
        self._scheduling_s.append(time.perf_counter() - begin)
        if type(decision) is Assign:
            self._give(request, task, decision.device)
        elif type(decision) is Wait:
            self._wait(request, decision.until_s)
        else:
            assert isinstance(decision, Refuse)
            self._reject(request, decision.reason)

    def _wait(self, request: Request, until_s: float) -> None:
        self.hold(request)
        if until_s < math.inf:
            self.in_fleet -= 1  # it waits of its own accord: who keeps it is not the fleet
            assert request.task is not None
            self._state.wait(request.task)
            self._push(max(until_s, self.now_s), WAKE, request)
            return
        self._blocked[request.stage].append(request)
        if request.blocked_s != request.queued_s:
            request.blocked_s = request.queued_s
            request.block = self._pushed
            self._push(self.now_s + self._rules.max_wait_s, GIVE_UP, (request, request.block))

    def _wake(self, request: Request) -> None:
        self.in_fleet += 1
        request.blocked_s = math.nan  # if it has to wait for a device it does so from now on
        assert request.task is not None
        self._state.wake(request.task)
        self._ready(request)

    def _give_up(self, told: tuple[Request, int]) -> None:
        request, block = told
        blocked = self._blocked[request.stage]
        if request.block == block and request in blocked:
            blocked.remove(request)
            self._reject(request, f"no device took it within {self._rules.max_wait_s:g} s")

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

    def _give(self, request: Request, task: Task, device: str) -> None:
        self._state.begin(task, device)
        self.send(request, device)
        sender = request.location
        if sender is None or sender == device:
            self._enqueue(request, device)
            return
        link = self.job.fleet.link(sender, device)
        assert link is not None, "a scheduler assigned to a device that cannot be reached"
        start_s = max(self.now_s, self._link_free_s.get((sender, device), 0.0))
        sent_s = self._link_free_s[sender, device] = start_s + task.input_bytes / link.bandwidth_bytes_per_s
        end_s = sent_s + link.latency_s
        self._row(request, TRANSFER, f"{sender}->{device}", start_s, end_s, num_bytes=task.input_bytes)
        self._push(end_s, DELIVERED, (request, device))

    def _delivered(self, what: tuple[Request, str]) -> None:
        request, device = what
        request.queued_s = self.now_s
        if self._state.devices[device].up:
            self._enqueue(request, device)
        else:
            self._lose(request, device)

    def _enqueue(self, request: Request, device: str) -> None:
        if self._running[device] is None and not self._queues[device]:
            self._start(request, device)
        else:
            self._queues[device].append(request)

    def _start(self, request: Request, device: str) -> None:
        self._running[device] = request
        request.runs += 1
        request.began_s = self.now_s
        self.start(request, device)

    def _done(self, finished: Finished) -> None:
        request, device, run, began_s, ended_s, cpu_s = finished
        if self._running[device] is not request or request.runs != run:  # it was lost meanwhile
            return
        self._row(request, COMPUTE, device, began_s, ended_s, cpu_s)
        self._used.add(device)
        assert request.task is not None
        self._state.end(request.task, device, ended_s - began_s)
        self._running[device] = None
        if self._last[request.stage]:
            self._leave(request, ended_s)
        else:
            request.queued_s = ended_s
            request.stage += 1
            self._lies_on(request, device)
            self._ready(request)
        queue = self._queues[device]
        if queue and self._running[device] is None:
            self._start(queue.popleft(), device)
        if any(self._blocked.values()):
            self._ask_blocked()

    def _leave(self, request: Request, at_s: float) -> None:
        self._open.discard(request.number)
        if len(self._rows) >= self._most_rows and self.job.sink is not None:
            self._hand_on(self.job.sink)
        self.in_fleet -= 1
        self._end_s = at_s
        if self.job.workload.concurrency is not None:
            self._next_arrival()

    def _reject(self, request: Request, reason: str) -> None:
        self._row(request, REJECTED, "", self.now_s, self.now_s, status=FAILED, reason=reason)
        self._leave(request, self.now_s)

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

    def _lose(self, request: Request, device: str, *, began: bool = False) -> None:
        """A task is taken from a device that is gone; who sent its input still has it."""
        begin_s = min(request.began_s, self.now_s) if began else self.now_s
        self._row(request, COMPUTE, device, begin_s, self.now_s, status=LOST, reason=f"{device} is gone")
        self._used.add(device)
        assert request.task is not None
        self._state.end(request.task, device, None)
        request.queued_s = self.now_s
        self._ready(request)

    def _back(self, device: str) -> None:
        self._away[device] -= 1
        if not self._away[device]:  # else another outage of its own still lasts
            self._state.set_up(device, True)
            self._ask_blocked()
