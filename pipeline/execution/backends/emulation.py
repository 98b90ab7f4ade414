"""One emulated run: an event loop in real time, over device processes. Shell."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop
from typing import Any

from pipeline.domain.records import Records
from pipeline.execution.backends.fleet_clock import FleetClock
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.pool import DevicePool
from pipeline.execution.devices.reference_probe import Drift, reference_graph
from pipeline.execution.events.device_queue import DeviceQueue
from pipeline.execution.events.event_loop import Event, EventLoop
from pipeline.execution.events.request import Request
from pipeline.execution.events.settings import BackendSettings
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler

FIRST_PROBES = 5
"""Number of probes of this host's drift on each device before a run."""
REPLY_S = 1.0
"""Seconds to wait for a reply before checking that the device processes still run."""


_Ended = tuple[Request, DeviceQueue, int, float, float, float]
"""The arguments of `EventLoop.finish`."""


class Emulation(EventLoop):
    """One run on device processes. A tensor stays on the device that computed it, or here while it waits."""

    measurement = "emulated"

    def __init__(
        self,
        settings: BackendSettings,
        job: Job,
        scheduler: Scheduler,
        work: Sequence[StageDeployment],
        pool: DevicePool,
        *,
        warmup: int,
        probe_every_s: float,
        headroom: float,
    ) -> None:
        super().__init__(settings, job, scheduler, work)
        self._pool = pool
        self._warmup = warmup
        self._probe_every_s = probe_every_s
        profile = job.services[0].problem.profile
        self._speeds = profile.speeds
        self._drift = Drift(profile.probe_cpu_s or profile.reference_cpu_s)
        self._clock = FleetClock(_time_scale(job, work, headroom))
        self._late_s = 0.0
        self._names = used_devices(work)
        self._last_busy = self._names[0]
        """The device that most recently ended a stage."""
        self._pending: dict[str, deque[tuple[Request, int] | Request | None]] = {
            name: deque() for name in self._names
        }
        """Unanswered messages by device, in order of sending. A request and its run: run a stage; a request:
        fetch its value; None: the reply is empty."""
        self._ended: deque[_Ended] = deque()
        self._held: dict[int, list[bytes]] = {}
        """Frames of the stage's input by request, where this process holds it."""
        self._answers: dict[int, str] = {}
        """The device that holds the answer, by request."""
        self._last_probe = 0.0
        """Reading of the clock at the last probe."""

    def execute(self) -> Records:
        """Deploy the stages, run all requests, collect the answers. Raises DeviceError if a process fails."""
        self._deploy()
        for name in list(self._names) * FIRST_PROBES:
            self._probe(name)
        self._clock.begin()
        self.run()
        window_s = self._clock.now()
        while any(self._pending.values()):
            self._receive(REPLY_S)
        outputs = [
            self._pool.call(device, {"op": "fetch", "request": str(request)})[1]["0"]
            for request, device in sorted(self._answers.items())
        ]
        for name in self._names:
            self._pool.call(name, {"op": "reset"})
        return self.records(
            outputs=tuple(outputs),
            host_drift=self._drift.overall,
            host_late=self._late_s / (window_s * self._clock.scale + self._late_s),
        )

    def _deploy(self) -> None:
        """Send every stage to each device that may run it, and the inputs to those of first stages."""
        reference = reference_graph(self.job.fleet.reference_model)
        for name in self._names:
            self._pool.set_reference(name, reference)
            self._pool.call(name, {"op": "reset"})
        results: list[Layout] = []
        for index, work in enumerate(self.work):
            service = self.job.services[work.service]
            plan, graph = service.plan, service.problem.along(service.plan).graph
            inputs = results if work.stage else [Layout.of(service.inputs[0])]
            for name in work.seconds:
                results = self._pool.deploy(
                    name,
                    str(index),
                    graph,
                    *plan.stage(work.stage),
                    before=plan.compression_before(work.stage),
                    after=plan.compression_before(work.stage + 1),
                    inputs=inputs,
                    warmup=self._warmup,
                )
                for number, tensor in enumerate(service.inputs if work.stage == 0 else ()):
                    key = f"input {work.service} {number}"
                    self._pool.call(name, {"op": "put", "request": key}, {"0": tensor})

    def _probe(self, device: str) -> None:
        """Run the reference model on a device; no other reply may be pending."""
        self._last_probe = time.perf_counter()
        self._drift.add(self._pool.probe_reference(device))

    def _is_probe_due(self) -> bool:
        return time.perf_counter() - self._last_probe >= self._probe_every_s

    def events(self) -> Iterator[Event]:
        """The ends of stages as the devices report them, and the other events when they are due.

        The time of an event is its own, so that the messages of the emulation take no time in the records. An
        answer that arrives late may be handled after a later event; then its time is that event's.
        """
        heap = self.heap
        while True:
            ended = self._poll(heap[0][0] if heap else math.inf)
            if ended is not None:
                *_, ended_s, _ = ended
                yield max(self.now_s, ended_s), self.finish, ended
            elif heap:
                due_s, _, handle, arguments = heappop(heap)
                yield max(self.now_s, due_s), handle, arguments
            else:
                return

    def start(self, request: Request, queue: DeviceQueue) -> None:
        """Send the device's process a message to run the stage on the value that it holds."""
        device = queue.name
        work = self.work[request.stage]
        service = self.job.services[work.service]
        first = f"input {work.service} {request.number % len(service.inputs)}"
        header = {
            "op": "run",
            "stage": str(request.stage),
            "request": str(request.number),
            "takes": first if work.stage == 0 else str(request.number),
            "slowdown": self._clock.scale / self._speeds[device],
            "drift": self._drift.now,
            "reference_s": self._drift.reference_cpu_s if self._is_probe_due() else math.inf,
            "dispatch_s": self.job.fleet.by_name[device].dispatch_s * self._clock.scale,
            "not_before": self._clock.reading(self.now_s),
        }
        self._pool.send(device, wire.encode(header))
        self._pending[device].append((request, request.runs))

    def send(self, request: Request, device: str) -> None:
        """Send the stage's input to the device unless it is there; a model's input always is."""
        if self.work[request.stage].stage == 0:
            self._held.pop(request.number, None)
            return
        if request.location == device and request.number not in self._held:
            return
        self.hold(request)
        header = {"op": "put", "request": str(request.number)}
        self._pool.send(device, wire.readdress(self._held[request.number], header))
        self._pending[device].append(None)

    def hold(self, request: Request) -> None:
        """Fetch the input from the device that computed it, before that device begins another stage."""
        if self.work[request.stage].stage == 0 or request.number in self._held:
            return
        assert request.location is not None
        self._pool.send(request.location, wire.encode({"op": "fetch", "request": str(request.number)}))
        self._pending[request.location].append(request)
        while request.number not in self._held:
            self._receive(REPLY_S)

    def _poll(self, due_s: float) -> _Ended | None:
        """Wait for the end of a stage until `due_s`; while the fleet is empty, probe this host."""
        while True:
            self._receive(0.0)
            if self._ended:
                return self._ended.popleft()
            busy = any(self._pending.values())
            if not busy and not self.in_fleet and self._is_probe_due():
                with self._clock.pause():
                    self._probe(self._last_busy)
            left_s = (due_s - self._clock.now()) * self._clock.scale
            if left_s <= 0 or (not busy and due_s == math.inf):
                return None
            if busy and left_s >= 1e-3:  # the resolution of waiting for a reply
                self._receive(min(left_s, REPLY_S))
            else:
                time.sleep(left_s)

    def _receive(self, timeout_s: float) -> None:
        """Handle one reply, if one arrives in time."""
        received = self._pool.receive(timeout_s) if any(self._pending.values()) else None
        if received is None:
            return
        device, frames = received
        pending = self._pending[device].popleft()
        if isinstance(pending, Request):
            self._held[pending.number] = frames
        elif pending is not None:
            self._end_run(device, *pending, wire.header(frames))

    def _end_run(self, device: str, request: Request, run: int, reply: dict[str, Any]) -> None:
        """Record that a device has run a stage."""
        ended_s = request.began_s + (reply["end"] - reply["start"]) / self._clock.scale
        self._last_busy = device
        if "probe_cpu_s" in reply:
            self._last_probe = time.perf_counter()
            self._drift.add(reply["probe_cpu_s"])
        cpu_s = reply["cpu_s"] / reply["drift"]
        self._ended.append((request, self.queues[device], run, request.began_s, ended_s, cpu_s))
        if request.runs == run and self.queues[device].running is request:  # else lost in an outage
            self._held.pop(request.number, None)
            if self.is_last(request.stage):
                self._answers[request.number] = device
        if any(self._pending.values()):
            self._late_s += reply["late_s"]
        else:
            # A delay by other work on this host is not the device's time: the fleet's clock skips it, unless
            # that would shorten a stage that another device is running.
            self._clock.skip(reply["late_s"])


def used_devices(work: Sequence[StageDeployment]) -> tuple[str, ...]:
    """The devices that may run a stage."""
    return tuple(dict.fromkeys(name for stage in work for name in stage.seconds))


def _time_scale(job: Job, work: Sequence[StageDeployment], headroom: float) -> float:
    """Factor by which the fleet runs slower than real time, so that one core of this host can emulate it."""
    speeds = job.services[0].problem.profile.speeds
    used = [speeds[name] for name in used_devices(work)]
    # With one request at a time, one device is busy. Otherwise all may be, and only one core is guaranteed.
    # Then add room for one more device as fast as the fastest: waiting for a turn would slow a device down.
    needed = max(used) if job.workload.concurrency == 1 else sum(used) + max(used)
    return max(1.0, needed * headroom)
