"""One emulated run: an event loop in the fleet's time, whose stages really run on device processes. Shell."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from pipeline.domain.records import Records
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.pool import DevicePool
from pipeline.execution.devices.reference_probe import Drift, reference_graph
from pipeline.execution.events.device_queue import DeviceQueue
from pipeline.execution.events.event_loop import EventLoop
from pipeline.execution.events.request import Request
from pipeline.execution.events.settings import BackendSettings
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler

FIRST_PROBES = 5
"""Number of probes of this host's drift on each device before a run."""


class Emulation(EventLoop):
    """One run on device processes. A tensor stays on the device that computed it until another needs it."""

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
    ) -> None:
        super().__init__(settings, job, scheduler, work)
        self._pool = pool
        self._warmup = warmup
        self._probe_every_s = probe_every_s
        profile = job.services[0].problem.profile
        self._speeds = profile.speeds
        self._drift = Drift(profile.reference_cpu_s)
        self._last_probe = 0.0
        """Reading of time.monotonic at the last probe."""
        self._names = used_devices(work)
        self._sent: dict[int, list[bytes]] = {}
        """Frames of the stage's input by request, where it was sent to another device. Should that device
        fail before the stage has ended, the input is still here."""
        self._holders: dict[int, set[str]] = {}
        """The devices that hold a value of a request, by request."""
        self._answers: dict[int, torch.Tensor] = {}
        """By request."""

    def execute(self) -> Records:
        """Deploy the stages, run all requests, collect the answers. Raises DeviceError if a process fails."""
        self._deploy()
        for name in list(self._names) * FIRST_PROBES:
            self._probe(name)
        self.run()
        for name in self._names:
            self._pool.call(name, {"op": "reset"})
        outputs = tuple(answer for _, answer in sorted(self._answers.items()))
        return self.records(outputs=outputs, host_drift=self._drift.overall)

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
        """Run the reference model on a device."""
        self._drift.add(self._pool.probe_reference(device))
        self._last_probe = time.monotonic()

    def start(self, request: Request, queue: DeviceQueue) -> tuple[float, float]:
        """Run the stage on the value that the device's process holds."""
        device, work = queue.name, self.work[request.stage]
        if time.monotonic() - self._last_probe >= self._probe_every_s:
            self._probe(device)
        service, number = self.job.services[work.service], str(request.number)
        first = f"input {work.service} {request.number % len(service.inputs)}"
        header = {"op": "run", "stage": str(request.stage), "request": number}
        takes = {"takes": number if work.stage else first}
        expected_s = self._drift.now * work.seconds[device] * self._speeds[device]
        reply, _ = self._pool.call(device, header | takes, expected_s=expected_s)
        self._holders.setdefault(request.number, set()).add(device)
        cpu_s = reply["cpu_s"] / self._drift.now
        return self.job.fleet.by_name[device].dispatch_s + cpu_s / self._speeds[device], cpu_s

    def send(self, request: Request, device: str) -> None:
        """Send the stage's input to the device unless it is there; a model's input always is."""
        number = request.number
        if self.work[request.stage].stage == 0:
            self._sent.pop(number, None)
            return
        if number not in self._sent:
            if request.location == device:
                return
            assert request.location is not None
            fetch = wire.encode({"op": "fetch", "request": str(number)})
            self._sent[number] = self._pool.forward(request.location, fetch)
            self._holders[number].discard(request.location)
        put = {"op": "put", "request": str(number)}
        self._pool.forward(device, wire.readdress(self._sent[number], put))
        self._holders[number].add(device)

    def ended(self, request: Request, device: str) -> None:
        """Forget the stage's input, and fetch an answer from the device that computed it."""
        self._sent.pop(request.number, None)
        if self.is_last(request.stage):
            reply = self._pool.call(device, {"op": "fetch", "request": str(request.number)})
            self._answers[request.number] = reply[1]["0"]
            self._holders[request.number].discard(device)

    def left(self, request: Request) -> None:
        """Forget what is left of the request, such as the value of one that was rejected."""
        self._sent.pop(request.number, None)
        for device in self._holders.pop(request.number, ()):
            self._pool.call(device, {"op": "drop", "request": str(request.number)})


def used_devices(work: Sequence[StageDeployment]) -> tuple[str, ...]:
    """The devices that may run a stage."""
    return tuple(dict.fromkeys(name for stage in work for name in stage.seconds))
