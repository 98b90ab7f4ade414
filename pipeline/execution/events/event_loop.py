"""The event loop of a run: arrivals, transfers, completions, waits and outages in order of time.

Pure except for timing the scheduler. The backend derives from `EventLoop`; it runs the stages and determines
their times.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar

from pipeline.domain.plan import AUTO
from pipeline.domain.records import Records
from pipeline.domain.tasks import Assign, Refuse, Task, Wait
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.events.blocked_tasks import BlockedTasks
from pipeline.execution.events.decisions import require_possible
from pipeline.execution.events.device_queue import DeviceQueue
from pipeline.execution.events.link_queue import LinkQueue
from pipeline.execution.events.records_table import COMPUTE, FAILED, LOST, REJECTED, TRANSFER
from pipeline.execution.events.request import Request, requests_of
from pipeline.execution.events.row_log import RowLog
from pipeline.execution.events.settings import BackendSettings
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler


class EventLoop(ABC):
    """One run, event by event. A device runs one stage at a time, first come first served."""

    measurement: ClassVar[str]

    def __init__(
        self, settings: BackendSettings, job: Job, scheduler: Scheduler, work: Sequence[StageDeployment]
    ) -> None:
        self.job = job
        self._scheduler = scheduler
        self.work = work
        self.now_s = 0.0
        self.in_fleet = 0
        """Number of requests that have arrived and are not done, without those that a scheduler defers."""
        self._settings = settings
        self._first = [  # by class of request: index of its service's first stage
            next(k for k, w in enumerate(work) if w.service == job.service_of(kind))
            for kind in range(len(job.workload.classes))
        ]
        self._last = [k + 1 == len(work) or work[k + 1].stage == 0 for k in range(len(work))]
        self._state = FleetState(job.fleet, work, job.intensity, job.services[0].problem.idle)
        self._requests = requests_of(job, work, self.ratios)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        """Time, order among events at that time, handler and its arguments."""
        self._pushed = 0
        self._begun = -(2**62)
        """Order of the next end of a stage: by begin, and before the other events of the same time."""
        self.queues = {name: DeviceQueue(name) for name in job.fleet.by_name}
        self._links: dict[tuple[str, str], LinkQueue] = {}
        """By sender and receiver; those that have carried a tensor."""
        self._blocked = BlockedTasks(len(work))
        self._log = RowLog(job, work, self.measurement)
        self._end_s = 0.0

    # --- how the backend runs stages ---

    @abstractmethod
    def start(self, request: Request, queue: DeviceQueue) -> tuple[float, float]:
        """Run the request's stage on a device that is free; returns the seconds it takes, and CPU seconds.

        CPU seconds are NaN where nothing is computed.
        """

    def send(self, request: Request, device: str) -> None:  # noqa: B027 not all backends move tensors
        """Move the input of the request's stage to a device."""

    def ended(self, request: Request, device: str) -> None:  # noqa: B027 nor fetch them
        """Note that a device has completed the request's stage."""

    def left(self, request: Request) -> None:  # noqa: B027 nor forget them
        """Note that the request has its answer, or was rejected."""

    def ratios(self, requests: int) -> Sequence[Sequence[float]]:
        """(requests, stages): time ÷ predicted time, for the next requests; no stages if they really run."""
        return [()] * requests

    def is_last(self, stage: int) -> bool:
        """Whether a stage outputs its service's answer."""
        return self._last[stage]

    # --- the loop ---

    def run(self) -> None:
        """Handle all events in order of time."""
        for outage in self.job.outages:
            self._push(outage.at_s, self._begin_outage, outage.device)
            if outage.duration_s < math.inf:
                self._push(outage.at_s + outage.duration_s, self._end_outage, outage.device)
        for _ in range(self.job.workload.concurrency or 1):
            self._next_arrival()
        heap, advance = self._heap, self._state.advance
        while heap:
            now_s, _, handle, arguments = heappop(heap)
            self.now_s = now_s
            advance(now_s)
            handle(*arguments)

    def records(self, **rest: Any) -> Records:
        """The records of the run; rest: further fields of Records, from the backend."""
        return self._log.records(
            window_s=max(self._end_s, self.job.workload.horizon_s),
            reserved=tuple(name for name, queue in self.queues.items() if queue.used),
            **rest,
        )

    def _push(self, at_s: float, handle: Callable[..., None], *arguments: Any) -> None:
        self._pushed += 1  # among events at the same time the first pushed comes first
        heappush(self._heap, (at_s, self._pushed, handle, arguments))

    # --- arrivals and answers ---

    def _next_arrival(self) -> None:
        request = next(self._requests, None)
        if request is None:
            return
        if self.job.workload.concurrency is not None:  # a closed loop: the request arrives now
            request.deadline_s += self.now_s
            request.arrival_s = request.queued_s = self.now_s
        self._push(request.arrival_s, self._arrive, request)

    def _arrive(self, request: Request) -> None:
        if self.job.workload.concurrency is None:
            self._next_arrival()
        self._restart(request)
        self._log.open(request)
        self.in_fleet += 1
        if self.in_fleet > self._settings.max_requests:
            self._reject(request, f"{self._settings.max_requests} requests were in the fleet")
        else:
            self._ready(request)

    def _restart(self, request: Request) -> None:
        """Put a request at its service's first stage, with its input at the fleet's source."""
        request.stage = self._first[request.kind]
        request.location = source = self.job.fleet.source
        request.life = 0 if source is None else self.queues[source].life

    def _leave(self, request: Request, at_s: float) -> None:
        self._log.close(request)
        self._state.reservations.replace(request.number, ())
        self.left(request)
        self.in_fleet -= 1
        self._end_s = at_s
        if self.job.workload.concurrency is not None:
            self._next_arrival()

    def _reject(self, request: Request, reason: str) -> None:
        self._log.add(request, REJECTED, "", self.now_s, self.now_s, status=FAILED, reason=reason)
        self._leave(request, self.now_s)

    # --- a device for each stage ---

    def _ready(self, request: Request) -> None:
        """Find a device for a stage whose input is ready."""
        if request.location is not None and self.queues[request.location].life != request.life:
            self._restart(request)  # its input was lost in an outage
        state, work = self._state, self.work[request.stage]
        task = request.task = Task(
            request.number,
            request.stage,
            self._settings.cpu_per_task,
            work.memory_need_bytes,
            work.input_bytes,
            request.location,
            request.tenant,
            request.arrival_s,
            request.deadline_s,
        )
        if work.planned != AUTO:
            if state.devices[work.planned].up:
                self._assign(request, task, work.planned)
            else:
                self._wait(request, math.inf)
            return
        begin = time.perf_counter()
        decision = self._scheduler.decide(task, state)
        self._log.scheduling_s.append(time.perf_counter() - begin)
        require_possible(self._scheduler, task, decision, state, self.now_s)
        if type(decision) is Assign:
            state.reservations.replace(request.number, decision.slots)
            self._assign(request, task, decision.device)
        elif type(decision) is Wait:
            state.reservations.replace(request.number, decision.slots)
            self._wait(request, decision.until_s)
        elif isinstance(decision, Refuse):
            self._reject(request, decision.reason)

    def _wait(self, request: Request, until_s: float) -> None:
        if until_s < math.inf:
            self.in_fleet -= 1  # its scheduler defers it: it does not wait for a busy fleet
            self._push(max(until_s, self.now_s), self._wake, request)
            return
        self._blocked.add(request)
        if request.blocked_s != request.queued_s:
            request.blocked_s = request.queued_s
            request.block = self._pushed
            self._push(self.now_s + self._settings.max_wait_s, self._time_out, request, request.block)

    def _wake(self, request: Request) -> None:
        self.in_fleet += 1
        request.blocked_s = math.nan  # a wait for a device begins now
        self._ready(request)

    def _time_out(self, request: Request, block: int) -> None:
        if request.block == block and self._blocked.remove(request):
            self._reject(request, f"no device accepted it within {self._settings.max_wait_s:g} s")

    # --- a stage on its device ---

    def _assign(self, request: Request, task: Task, device: str) -> None:
        self._state.begin(task, device)
        self.send(request, device)
        queue, sender = self.queues[device], request.location
        if sender is None or sender == device:
            self._enqueue(request, queue)
            return
        link = self._links.get((sender, device)) or self._link(sender, device)
        start_s, end_s = link.send(task.input_bytes, self.now_s)
        self._log.add(request, TRANSFER, link.name, start_s, end_s, num_bytes=task.input_bytes)
        self._push(end_s, self._deliver, request, queue)

    def _link(self, sender: str, receiver: str) -> LinkQueue:
        link = self.job.fleet.link(sender, receiver)
        assert link is not None, "decisions are checked"
        queue = self._links[sender, receiver] = LinkQueue(link, sender, receiver)
        return queue

    def _deliver(self, request: Request, queue: DeviceQueue) -> None:
        request.queued_s = self.now_s
        if queue.outages:
            self._lose(request, queue)
        else:
            self._enqueue(request, queue)

    def _enqueue(self, request: Request, queue: DeviceQueue) -> None:
        if queue.running is None and not queue.waiting:
            self._start(request, queue)
        else:
            queue.waiting.append(request)

    def _start(self, request: Request, queue: DeviceQueue) -> None:
        queue.running = request
        request.runs += 1
        request.began_s = self.now_s
        seconds, cpu_s = self.start(request, queue)
        self._begun += 1
        end = self.now_s + seconds, self._begun, self._finish, (request, queue, request.runs, cpu_s)
        heappush(self._heap, end)

    def _finish(self, request: Request, queue: DeviceQueue, run: int, cpu_s: float) -> None:
        """Handle the end of a stage on a device; run: its number among the request's runs."""
        if queue.running is not request or request.runs != run:  # lost in an outage
            return
        began_s, ended_s = request.began_s, self.now_s
        self._log.add(request, COMPUTE, queue.name, began_s, ended_s, cpu_s)
        self.ended(request, queue.name)
        queue.used = True
        queue.running = None
        assert request.task is not None
        self._state.end(request.task, queue.name, ended_s - began_s)
        if self._last[request.stage]:
            self._leave(request, ended_s)
        else:
            request.queued_s = ended_s
            request.stage += 1
            request.location, request.life = queue.name, queue.life
            self._ready(request)
        if queue.waiting and queue.running is None:
            self._start(queue.waiting.popleft(), queue)
        if self._blocked.count:
            self._blocked.retry(self._ready)

    # --- outages ---

    def _begin_outage(self, device: str) -> None:
        """Take a device down and reassign its tasks."""
        queue = self.queues[device]
        self._state.set_up(device, False)
        running = queue.running
        for request in queue.begin_outage():
            self._lose(request, queue, began=request is running)

    def _lose(self, request: Request, queue: DeviceQueue, *, began: bool = False) -> None:
        """Take a task from a device that is down and reassign it; its input is still on the sender."""
        begin_s = min(request.began_s, self.now_s) if began else self.now_s
        reason = f"{queue.name} failed"
        self._log.add(request, COMPUTE, queue.name, begin_s, self.now_s, status=LOST, reason=reason)
        queue.used = True
        assert request.task is not None
        self._state.end(request.task, queue.name, None)
        request.queued_s = self.now_s
        self._ready(request)

    def _end_outage(self, device: str) -> None:
        if self.queues[device].end_outage():
            self._state.set_up(device, True)
            self._blocked.retry(self._ready)
