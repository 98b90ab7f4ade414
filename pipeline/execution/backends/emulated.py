"""Run a plan for real, one OS process a device, each stretched to its device's speed. Default backend.

Real stages on real tensors: only the speed of a device, the bandwidth and the latency of a link are emulated.
A stage takes its CPU time ÷ the device's speed, which is steadier than a CPU quota (no 100 ms bursts of
throttling) and leaves out how long other work on this host delays it; a transfer takes at least what its
link would. A fleet whose devices together ask more than one core of this host runs slower as a whole, by one
time scale that the records divide out. So do they divide out this host's drift since the profile, told by the
reference model, which devices run now and then. Requests, queues and links are those of `Events`, in real
time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.domain.checks import require_number, require_whole
from pipeline.domain.records import Records
from pipeline.execution.backends.events import Events, Finished
from pipeline.execution.backends.fleet_clock import FleetClock
from pipeline.execution.backends.request import AdmissionRules, Request
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.devices import wire
from pipeline.execution.devices.pool import DevicePool, discard_pools, shared_pool
from pipeline.execution.devices.reference import Drift, reference_graph
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler
from pipeline.host.locks import machine_lock

FIRST_LOOKS = 5
"""At this host's drift on each device before a run."""
REPLY_S = 1.0
"""Longest wait for a reply without a look at whether the processes still run."""


@dataclass(frozen=True)
class Emulated:
    """How a run is emulated."""

    warmup: int = 3
    """Runs of a stage on zeros before it counts."""
    calibrate_every_s: float = 0.1
    """Time of this host between two looks at its drift."""
    headroom: float = 1.5
    """Share of time kept free for what the emulation itself costs, looks included."""
    cpu_per_task: float = 0.1
    """CPUs that a task is taken to need (AMP4EC: 0.1 to 0.2), for the scheduler's load."""
    max_requests: int = 1000
    """In the fleet at once; those that arise beyond are rejected, so that overload has an end."""
    max_wait_s: float = 60.0
    """For which a task is kept that no device takes; then its request is refused."""
    computes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_whole("backend", "warmup", self.warmup)
        require_number("backend", "calibrate_every_s", self.calibrate_every_s, least=0)
        require_number("backend", "headroom", self.headroom, least=1)
        require_number("backend", "cpu_per_task", self.cpu_per_task, least=0)
        require_whole("backend", "max_requests", self.max_requests, least=1)
        require_number("backend", "max_wait_s", self.max_wait_s, least=0)

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Run every request through its plan's stages.

        Raises ConfigError before anything starts where a stage fits no device that it may run on, and
        DeviceError where a device's process fails.
        """
        work = deploy(job.services)
        with machine_lock():
            pool = shared_pool(list(job.fleet.by_name))
            try:
                return _Emulation(self, job, scheduler, work, pool).execute()
            except BaseException:
                discard_pools()  # of what it was at, nobody knows
                raise


class _Emulation(Events):
    """One run on device processes. A tensor lies where it was computed, or here while it waits."""

    measurement = "emulated"

    def __init__(
        self,
        settings: Emulated,
        job: Job,
        scheduler: Scheduler,
        work: Sequence[StageDeployment],
        pool: DevicePool,
    ) -> None:
        super().__init__(
            AdmissionRules(settings.cpu_per_task, settings.max_requests, settings.max_wait_s),
            job,
            scheduler,
            work,
        )
        self._settings = settings
        self._pool = pool
        profile = job.services[0].problem.profile
        self._speeds = profile.speeds
        self._reference_cpu_s = profile.reference_cpu_s
        self._drift = Drift(profile.reference_cpu_s)
        self._last_on = next(iter(job.fleet.by_name))
        """The device that was last busy."""
        used = [self._speeds[name] for name in {name for stage in work for name in stage.seconds}]
        # One request at a time keeps one device busy; else all may be, and of one core this run is sure. Then
        # there is room for another as quick as the quickest: who waits for its turn would seem to be slower.
        asked = max(used) if job.workload.concurrency == 1 else sum(used) + max(used)
        self._clock = FleetClock(max(1.0, asked * settings.headroom))
        self._late_s = 0.0
        self._free_s = dict.fromkeys(job.fleet.by_name, 0.0)
        """When each device ended its last stage."""
        self._asked: dict[str, deque[tuple[Request, int] | Request | None]] = {
            n: deque() for n in job.fleet.by_name
        }
        """What each process was asked and has not answered, in order: a run; a request, whose value it is to
        hand over; None where the reply tells nothing."""
        self._finished: deque[Finished] = deque()
        self._held: dict[int, list[bytes]] = {}
        """By request: what its stage takes in, where that came through here."""
        self._answers: dict[int, str] = {}
        """By request: the device that holds its answer."""
        self._last_look = 0.0
        """A reading of the clock, when a look was last asked for."""

    def execute(self) -> Records:
        """Deploy, run, collect."""
        self._deploy()
        for name in list(self.job.fleet.by_name) * FIRST_LOOKS:
            self._look(name)
        self._clock.begin()
        self.run()
        window_s = self._clock.now()
        while any(self._asked.values()):
            self._receive(REPLY_S)
        outputs = [
            self._pool.call(device, {"op": "fetch", "request": str(request)})[1]["0"]
            for request, device in sorted(self._answers.items())
        ]
        for name in self.job.fleet.by_name:
            self._pool.call(name, {"op": "reset"})
        return self.records(
            outputs=tuple(outputs),
            host_drift=self._drift.overall,
            host_late=self._late_s / (window_s * self._clock.scale + self._late_s),
        )

    def _deploy(self) -> None:
        """Every stage to each device that may run it, and the inputs to those that may run a first one."""
        self._pool.set_reference(reference_graph(self.job.fleet.reference_model))
        for name in self.job.fleet.by_name:
            self._pool.call(name, {"op": "reset"})
        for index, work in enumerate(self.work):
            service = self.job.services[work.service]
            plan, graph = service.plan, service.problem.along(service.plan).graph
            for name in work.seconds:
                self._pool.deploy(
                    name,
                    str(index),
                    graph,
                    *plan.stage(work.stage),
                    before=plan.compression_before(work.stage),
                    after=plan.compression_before(work.stage + 1),
                    warmup=self._settings.warmup,
                )
                for number, tensor in enumerate(service.inputs if work.stage == 0 else ()):
                    key = f"input {work.service} {number}"
                    self._pool.call(name, {"op": "put", "request": key}, {"0": tensor})

    def _look(self, device: str) -> None:
        """Let a device run the reference model; nothing else may be under way."""
        self._last_look = time.perf_counter()
        self._drift.add(self._pool.look(device))

    def _is_time_to_look(self) -> bool:
        return time.perf_counter() - self._last_look >= self._settings.calibrate_every_s

    def clock_s(self, event_s: float) -> float:
        """Now."""
        return self._clock.now()

    def start(self, request: Request, device: str) -> None:
        """Ask its process to run the stage, on what it holds."""
        work = self.work[request.stage]
        inputs = len(self.job.services[work.service].inputs)
        dispatch_s = self.job.services[work.service].problem.profile.dispatch_s
        first = f"input {work.service} {request.number % inputs}"
        header = {
            "op": "run",
            "stage": str(request.stage),
            "request": str(request.number),
            "takes": first if work.stage == 0 else str(request.number),
            "slowdown": self._clock.scale / self._speeds[device],
            "drift": self._drift.now,
            "reference_s": self._reference_cpu_s if self._is_time_to_look() else math.inf,
            # Messages are as quick as ever when the fleet's clock is scaled: dispatch takes what it took.
            "not_before": self._clock.reading(max(request.queued_s, self._free_s[device]) + dispatch_s),
        }
        self._ask(device, header, (request, request.runs))

    def send(self, request: Request, device: str) -> None:
        """Bring what the stage takes in to the device, unless it is there: an input always is."""
        if self.work[request.stage].stage == 0:
            self._held.pop(request.number, None)
            return
        if request.location == device and request.number not in self._held:
            return
        self.hold(request)
        header = {"op": "put", "request": str(request.number)}
        self._pool.send(device, wire.readdress(self._held[request.number], header))
        self._asked[device].append(None)

    def hold(self, request: Request) -> None:
        """Take it from the device that computed it, before that begins something else."""
        if self.work[request.stage].stage == 0 or request.number in self._held:
            return
        assert request.location is not None
        self._pool.send(request.location, wire.encode({"op": "fetch", "request": str(request.number)}))
        self._asked[request.location].append(request)
        while request.number not in self._held:
            self._receive(REPLY_S)

    def poll(self, due_s: float) -> Finished | None:
        """Wait for the next reply, until it is time for something else."""
        while True:
            self._receive(0.0)
            if self._finished:
                return self._finished.popleft()
            busy = any(self._asked.values())
            if not busy and not self.in_fleet and self._is_time_to_look():
                with self._clock.pause():
                    self._look(self._last_on)
            left_s = (due_s - self._clock.now()) * self._clock.scale
            if left_s <= 0 or (not busy and due_s == math.inf):
                return None
            if busy and left_s >= 1e-3:  # the resolution of waiting for a reply
                self._receive(min(left_s, REPLY_S))
            else:
                time.sleep(left_s)

    def _ask(self, device: str, header: Mapping[str, Any], what: tuple[Request, int]) -> None:
        self._pool.send(device, wire.encode(header))
        self._asked[device].append(what)

    def _receive(self, timeout_s: float) -> None:
        """Take in one reply, if there is one by then."""
        received = self._pool.receive(timeout_s) if any(self._asked.values()) else None
        if received is None:
            return
        device, frames = received
        what = self._asked[device].popleft()
        if what is None:
            return
        if isinstance(what, Request):
            self._held[what.number] = frames
            return
        request, run = what
        reply = wire.header(frames)
        started_s, ended_s = self._clock.at(reply["start"]), self._clock.at(reply["end"])
        self._free_s[device] = ended_s
        self._last_on = device
        if "look_cpu_s" in reply:
            self._last_look = time.perf_counter()
            self._drift.add(reply["look_cpu_s"])
        cpu_s = reply["cpu_s"] / reply["drift"]
        self._finished.append(Finished(request, device, run, started_s, ended_s, cpu_s))
        if request.runs == run:
            self._held.pop(request.number, None)
            if self.is_last(request.stage):
                self._answers[request.number] = device
        self._late_s += reply["late_s"]
        if not any(self._asked.values()):
            # What others on this host delayed is not the device's time: the fleet's clock stands still for
            # it, unless another device's stage would seem the shorter for that.
            self._clock.skip(reply["late_s"])
