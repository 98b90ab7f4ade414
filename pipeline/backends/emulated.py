"""Run a plan for real, one OS process a device, each stretched to its device's speed. Default backend.

Real stages on real tensors: only the speed of a device, the bandwidth and the latency of a link are emulated.
A stage takes its CPU time ÷ the device's speed, which is steadier than a CPU quota (no 100 ms bursts of
throttling) and leaves out how long other work on this host delays it; a transfer takes at least what its
link would. A fleet with a device faster than this host runs slower as a whole, by one time scale that the
records divide out. So do they divide out this host's drift since the profile, told by the reference model
run between requests.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import pandas as pd

from pipeline.backends import wire
from pipeline.backends.pool import DeviceError, DevicePool, discard_pools, machine_lock, shared_pool
from pipeline.deployment import Work, arrivals, deploy
from pipeline.domain import (
    AUTO,
    RECORD_COLUMNS,
    Assign,
    Job,
    Records,
    Refuse,
    RequestClass,
    Task,
    require,
    require_number,
    require_whole,
)
from pipeline.fleet_state import FleetState
from pipeline.profile import host_reference

DRIFT_SAMPLES = 5


@dataclass(frozen=True)
class Emulated:
    """Closed loop: the next request arises when the last is answered."""

    warmup: int = 3
    """Runs of a stage on zeros before it counts."""
    calibrate_every: int = 10
    """Requests between two looks at this host's drift."""
    headroom: float = 1.25
    """Share of time kept free on the fastest device for what the emulation itself costs."""
    cpu_per_task: float = 0.1
    """CPUs that a task is taken to need (AMP4EC: 0.1 to 0.2), for the scheduler's load."""

    def __post_init__(self) -> None:
        require_whole("backend", "warmup", self.warmup)
        require_whole("backend", "calibrate_every", self.calibrate_every, least=1)
        require_number("backend", "headroom", self.headroom, least=1)
        require_number("backend", "cpu_per_task", self.cpu_per_task, least=0)

    computes: ClassVar[bool] = True

    def run(self, job: Job) -> Records:
        """Run every request through the plan's stages.

        Raises ConfigError before anything starts where a stage fits no device that it may run on, and
        DeviceError where a device's process fails.
        """
        require(
            job.workload.concurrency == 1 and len(job.services) == 1 and not job.outages,
            "backend: emulated takes one model in a closed loop with workload.concurrency=1, and no outages; "
            "use backend=simulated",
        )
        work = deploy(job.services)
        with machine_lock():
            pool = shared_pool(list(job.fleet.by_name))
            try:
                return _Run(self, job, work, pool).execute()
            except BaseException as error:
                if isinstance(error, DeviceError | KeyboardInterrupt):
                    discard_pools()
                raise


class _Clock:
    """Seconds from the run's start on the fleet's own clock: scaled, and standing still in pauses."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._origin = time.perf_counter()
        self._paused = 0.0

    def at(self, reading: float) -> float:
        return (reading - self._origin - self._paused) / self.scale

    def now(self) -> float:
        return self.at(time.perf_counter())

    def skip(self, seconds: float) -> None:
        """Leave out so many seconds that have just passed."""
        self._paused += seconds

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin


class _Run:
    """One run of one plan."""

    def __init__(self, settings: Emulated, job: Job, work: Sequence[Work], pool: DevicePool) -> None:
        (service,) = job.services
        self._settings = settings
        self._job = job
        self._work = work
        self._problem = service.problem.along(service.plan)
        self._plan = service.plan
        self._inputs = service.inputs
        self._pool = pool
        self._reference = host_reference(job.fleet.reference_model)
        self._drifts: deque[float] = deque(maxlen=DRIFT_SAMPLES)
        self._all_drifts: list[float] = []
        self._rows: list[dict[str, object]] = []
        self._late_s = 0.0
        self._scheduling_s: list[float] = []
        self._state = FleetState(job.fleet, work, job.intensity, self._problem.idle)
        fastest = max(self._problem.profile.speeds[name] for stage in work for name in stage.seconds)
        self._scale = max(1.0, fastest * settings.headroom)

    def execute(self) -> Records:
        """Deploy, run, collect."""
        kinds = [int(kind) for block in arrivals(self._job, self._work) for kind in block.kind]
        self._deploy(len(kinds))
        for _ in range(DRIFT_SAMPLES):
            self._look_at_drift()
        start_utc = datetime.now(UTC)
        self._clock = _Clock(self._scale)
        locations: list[str | None] = []
        for request, kind in enumerate(kinds):
            if request and request % self._settings.calibrate_every == 0:
                with self._clock.pause():
                    self._look_at_drift()
            locations.append(self._request(request, self._job.workload.classes[kind]))
        window_s = self._clock.now()
        outputs = [
            self._pool.call(device, {"op": "fetch", "request": str(request)})[1]["0"]
            for request, device in enumerate(locations)
            if device is not None
        ]
        for name in self._state.devices:
            self._pool.call(name, {"op": "reset"})
        table = pd.DataFrame(self._rows, columns=list(RECORD_COLUMNS))
        used = set(table.loc[table["kind"] == "compute", "device"])
        return Records(
            table=table,
            start_utc=start_utc,
            window_s=window_s,
            reserved=tuple(name for name in self._state.devices if name in used),
            measurement="emulated",
            outputs=tuple(outputs),
            scheduling_s=tuple(self._scheduling_s),
            host_drift=statistics.median(self._all_drifts),
            host_late=self._late_s / (window_s * self._scale + self._late_s),
        )

    def _deploy(self, requests: int) -> None:
        for name in self._state.devices:
            self._pool.call(name, {"op": "reset"})
        for work in self._work:
            for name in work.seconds:
                self._pool.deploy(
                    name,
                    str(work.stage),
                    self._problem.graph,
                    *self._plan.stage(work.stage),
                    before=self._plan.compression_before(work.stage),
                    after=self._plan.compression_before(work.stage + 1),
                    warmup=self._settings.warmup,
                )
        source = self._problem.fleet.source
        for name in self._work[0].seconds if source is None else [source]:
            for request in range(requests):
                tensor = self._inputs[request % len(self._inputs)]
                self._pool.call(name, {"op": "put", "request": str(request)}, {"0": tensor})

    def _look_at_drift(self) -> None:
        drift = self._reference.cpu_s() / self._problem.profile.reference_cpu_s
        self._drifts.append(drift)
        self._all_drifts.append(drift)

    def _request(self, request: int, kind: RequestClass) -> str | None:
        """Take one request through all stages; the device that holds its answer, None if it was rejected."""
        location = self._problem.fleet.source
        arrival_s = self._clock.now()
        deadline_s = math.inf if kind.deadline_s is None else kind.deadline_s
        for stage in range(self._plan.num_stages):
            work = self._work[stage]
            ready_s = self._clock.now()
            task = Task(
                request=request,
                stage=stage,
                cpu_need=self._settings.cpu_per_task,
                memory_need_bytes=work.memory_need_bytes,
                input_bytes=work.input_bytes,
                location=location,
                tenant=kind.tenant,
                arrival_s=arrival_s,
                deadline_s=arrival_s + deadline_s,
            )
            device = self._choose(task)
            if isinstance(device, Refuse):
                self._row(task, "rejected", "", ready_s, ready_s, status="failed", reason=device.reason)
                return None
            self._state.advance(self._clock.now())
            self._state.begin(task, device)
            location = self._run_stage(task, device, ready_s)
        return location

    def _choose(self, task: Task) -> str | Refuse:
        planned = self._plan.devices[task.stage]
        if planned != AUTO:
            return planned
        while True:
            self._state.advance(self._clock.now())
            begin = time.perf_counter()
            decision = self._job.scheduler.decide(task, self._state)
            self._scheduling_s.append(time.perf_counter() - begin)
            if isinstance(decision, Assign):
                return decision.device
            if isinstance(decision, Refuse):
                return decision
            if decision.until_s == float("inf"):
                # In a closed loop nothing else is in flight whose end could change the answer.
                return Refuse("the scheduler waits for a task to end and none is running")
            time.sleep(max(0.0, (decision.until_s - self._clock.now()) * self._scale))

    def _run_stage(self, task: Task, device: str, ready_s: float) -> str:
        moves = task.location is not None and task.location != device
        not_before = 0.0
        sent = time.perf_counter()
        if moves:
            assert task.location is not None
            link = self._problem.fleet.link(task.location, device)
            assert link is not None, "a plan over unconnected devices is refused before it starts"
            not_before = sent + link.transfer_s(task.input_bytes) * self._scale
            key = str(task.request)
            frames = self._pool.forward(task.location, wire.encode({"op": "fetch", "request": key}))
            self._pool.forward(device, wire.readdress(frames, {"op": "put", "request": key}))
        drift = statistics.median(self._drifts)
        slowdown = self._scale / (self._problem.profile.speeds[device] * drift)
        reply, _ = self._pool.call(
            device,
            {
                "op": "run",
                "stage": str(task.stage),
                "request": str(task.request),
                "slowdown": slowdown,
                "not_before": not_before,
            },
        )
        start_s, end_s = self._clock.at(reply["start"]), self._clock.at(reply["end"])
        if moves:
            ends = f"{task.location}->{device}"
            self._row(task, "transfer", ends, ready_s, self._clock.at(sent), start_s, bytes=task.input_bytes)
        queued_s = start_s if moves else ready_s
        self._row(task, "compute", device, queued_s, start_s, end_s, cpu_s=reply["cpu_s"] / drift)
        self._state.advance(end_s)
        self._state.end(task, device, end_s - start_s)
        # What others on this host delayed is not the device's time: the fleet's clock stands still for it.
        self._clock.skip(reply["late_s"])
        self._late_s += reply["late_s"]
        return device

    def _row(
        self,
        task: Task,
        kind: str,
        device: str,
        queued_s: float,
        start_s: float,
        end_s: float | None = None,
        *,
        cpu_s: float = 0.0,
        bytes: int = 0,
        status: str = "ok",
        reason: str = "",
    ) -> None:
        values: Mapping[str, object] = {
            "request": task.request,
            "tenant": task.tenant,
            "model": self._problem.graph.name,
            "deadline_s": task.deadline_s - task.arrival_s,
            "stage": task.stage,
            "kind": kind,
            "device": device,
            "queued_s": queued_s,
            "start_s": start_s,
            "end_s": start_s if end_s is None else end_s,
            "cpu_s": cpu_s,
            "bytes": bytes,
            "status": status,
            "reason": reason,
        }
        self._rows.append(dict(values))
