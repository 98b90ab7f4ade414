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
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pandas as pd
import torch

from pipeline.backends import wire
from pipeline.backends.pool import DeviceError, DevicePool, discard_pools, machine_lock, shared_pool
from pipeline.compression import compressed_bytes
from pipeline.domain import (
    AUTO,
    RECORD_COLUMNS,
    Assign,
    Plan,
    Problem,
    Records,
    Refuse,
    Scheduler,
    Task,
    require,
    require_number,
    require_whole,
)
from pipeline.fleet_state import DeviceState, FleetState
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

    def run(
        self, problem: Problem, plan: Plan, inputs: Sequence[torch.Tensor], scheduler: Scheduler
    ) -> Records:
        """Run every request through the plan's stages.

        Raises ConfigError before anything starts where a stage fits no device that it may run on, and
        DeviceError where a device's process fails.
        """
        problem = problem.along(plan)
        candidates = place(problem, plan)
        with machine_lock():
            pool = shared_pool(list(problem.fleet.by_name))
            try:
                return _Run(self, problem, plan, scheduler, candidates, pool).execute(inputs)
            except BaseException as error:
                if isinstance(error, DeviceError | KeyboardInterrupt):
                    discard_pools()
                raise


def place(problem: Problem, plan: Plan) -> list[list[str]]:
    """For each stage the devices that will hold it: the planned one, or for auto all where it fits.

    A device holds the parameters of all its stages at once, beside the largest set of activations among them.
    The plan's bounds are those of the problem's own chain (`Problem.along`).
    Raises ConfigError naming the stage and what it lacks.
    """
    fleet, graph = problem.fleet, problem.graph
    held, peaks = dict.fromkeys(fleet.by_name, 0.0), dict.fromkeys(fleet.by_name, 0.0)
    placed: dict[int, list[str]] = {}
    # Stages with a device of their own come first: those on auto make do with what is left.
    for stage in sorted(range(plan.num_stages), key=lambda stage: plan.devices[stage] == AUTO):
        begin, end = plan.stage(stage)
        parameters, peak = graph.stage_param_bytes(begin, end), graph.stage_peak_bytes(begin, end)
        wanted = list(fleet.by_name) if plan.devices[stage] == AUTO else [plan.devices[stage]]
        needed = {name: parameters + max(peak, peaks[name]) for name in wanted}
        left = {name: fleet.by_name[name].memory_bytes - held[name] for name in wanted}
        fitting = [name for name in wanted if needed[name] <= left[name]]
        roomiest = max(wanted, key=lambda name: left[name] - needed[name])
        require(
            bool(fitting),
            f"memory_bytes: stage {stage} (layers {begin} to {end}) needs {needed[roomiest] / 1e6:.1f} MB "
            f"and {roomiest} has {left[roomiest] / 1e6:.1f} MB left",
        )
        for name in fitting:
            held[name] += parameters
            peaks[name] = max(peak, peaks[name])
        placed[stage] = fitting
    order = [placed[stage] for stage in range(plan.num_stages)]
    before = [[] if fleet.source is None else [fleet.source], *order]
    for stage, (senders, receivers) in enumerate(zip(before, order, strict=False)):
        for sender in senders if plan.devices[stage] != AUTO else ():
            connected = sender == receivers[0] or fleet.link(sender, receivers[0]) is not None
            pair = f"{sender} and {receivers[0]}"
            require(connected, f"fleet.links: {pair} are not connected, and stage {stage} needs them to be")
    return order


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

    def __init__(
        self,
        settings: Emulated,
        problem: Problem,
        plan: Plan,
        scheduler: Scheduler,
        candidates: list[list[str]],
        pool: DevicePool,
    ) -> None:
        self._settings = settings
        self._problem = problem
        self._plan = plan
        self._scheduler = scheduler
        self._candidates = candidates
        self._pool = pool
        self._reference = host_reference(problem.fleet.reference_model)
        self._drifts: deque[float] = deque(maxlen=DRIFT_SAMPLES)
        self._all_drifts: list[float] = []
        self._rows: list[dict[str, object]] = []
        self._late_s = 0.0
        self._scheduling_s: list[float] = []
        self._state = FleetState(
            problem.fleet,
            {
                device.name: DeviceState(
                    device,
                    problem.intensity_g_per_kwh[device.name],
                    fits=partial(self._fits, device.name),
                    predict_s=partial(self._predict_s, device.name),
                )
                for device in problem.fleet.devices
            },
        )
        fastest = max(problem.profile.speeds[name] for stage in candidates for name in stage)
        self._scale = max(1.0, fastest * settings.headroom)

    def _fits(self, device: str, stage: int) -> bool:
        return device in self._candidates[stage]

    def _predict_s(self, device: str, stage: int) -> float:
        profile, cuts, (begin, end) = self._problem.profile, self._problem.graph.cuts, self._plan.stage(stage)
        before, after = self._plan.compression_before(stage), self._plan.compression_before(stage + 1)
        codecs_s = profile.decode_s(device, before, cuts[begin].num_bytes)
        codecs_s += profile.encode_s(device, after, cuts[end].num_bytes)
        return profile.stage_s(device, begin, end) + float(codecs_s)

    def execute(self, inputs: Sequence[torch.Tensor]) -> Records:
        """Deploy, run, collect."""
        self._deploy(inputs)
        for _ in range(DRIFT_SAMPLES):
            self._look_at_drift()
        start_utc = datetime.now(UTC)
        self._clock = _Clock(self._scale)
        locations: list[str | None] = []
        for request in range(len(inputs)):
            if request and request % self._settings.calibrate_every == 0:
                with self._clock.pause():
                    self._look_at_drift()
            locations.append(self._request(request))
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

    def _deploy(self, inputs: Sequence[torch.Tensor]) -> None:
        for name in self._state.devices:
            self._pool.call(name, {"op": "reset"})
        for stage, names in enumerate(self._candidates):
            for name in names:
                self._pool.deploy(
                    name,
                    str(stage),
                    self._problem.graph,
                    *self._plan.stage(stage),
                    before=self._plan.compression_before(stage),
                    after=self._plan.compression_before(stage + 1),
                    warmup=self._settings.warmup,
                )
        source = self._problem.fleet.source
        for name in self._candidates[0] if source is None else [source]:
            for request, tensor in enumerate(inputs):
                self._pool.call(name, {"op": "put", "request": str(request)}, {"0": tensor})

    def _look_at_drift(self) -> None:
        drift = self._reference.cpu_s() / self._problem.profile.reference_cpu_s
        self._drifts.append(drift)
        self._all_drifts.append(drift)

    def _request(self, request: int) -> str | None:
        """Take one request through all stages; the device that holds its answer, None if it was rejected."""
        location = self._problem.fleet.source
        for stage in range(self._plan.num_stages):
            begin, end = self._plan.stage(stage)
            graph = self._problem.graph
            task = Task(
                request=request,
                stage=stage,
                cpu_need=self._settings.cpu_per_task,
                memory_need_bytes=graph.stage_param_bytes(begin, end) + graph.stage_peak_bytes(begin, end),
                input_bytes=compressed_bytes(graph.cuts[begin].tensors, self._plan.compression_before(stage)),
                location=location,
            )
            ready_s = self._clock.now()
            device = self._choose(task)
            if isinstance(device, Refuse):
                self._row(task, "rejected", "", ready_s, ready_s, status="failed", reason=device.reason)
                return None
            self._state.begin(task, device)
            location = self._run_stage(task, device, ready_s)
        return location

    def _choose(self, task: Task) -> str | Refuse:
        planned = self._plan.devices[task.stage]
        if planned != AUTO:
            return planned
        while True:
            self._state.now_s = self._clock.now()
            begin = time.perf_counter()
            decision = self._scheduler.decide(task, self._state)
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
            "tenant": "default",
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
