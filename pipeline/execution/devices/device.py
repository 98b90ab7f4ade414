"""A device as an OS process: holds stages and values, and runs one stage at a time. Shell.

Started as `python -m pipeline.execution.devices.device ENDPOINT NAME PARENT_PID TURNS`.
It needs only torch, pyzmq and safetensors.
Requests (header "op") and their replies:
    deploy   a stage's program and parameters; run it `warmup` times on zeros with the layouts `inputs`
             -> param_bytes, and the layouts of its outputs if it ran
    put      tensors: the present value of a request                          -> nothing
    run      a stage on a value (`takes`); its output is the request's new value
             -> start, end, late_s, cpu_s, drift, and probe_cpu_s if it made a probe (see `Stretched`)
    fetch    return and forget the value of a request                         -> tensors
    profile  run a chain of deployed stages once, on seeded noise with the layouts `inputs`
             -> cpu_s of each, probe_cpu_s
    probe    run the stage REFERENCE on zeros, to measure this host's speed   -> probe_cpu_s
    reset    forget all stages but REFERENCE, and all values                  -> nothing
`start` and `end` are readings of time.perf_counter, which all processes of one host share.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

import torch
import zmq

from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.stretching import PROBE_ROOM, Stretcher, Values, sleep_until, timed
from pipeline.network.stage_program import from_program
from pipeline.network.subnormals import subnormals_as_zero

PARENT_CHECK_MS = 2000
REFERENCE = "reference"
"""Name of the stage that measures this host's speed."""


class DeviceServer:
    """The stages and values that one device holds; turns: the file to lock (see `Stretcher`)."""

    def __init__(self, turns: IO[bytes]) -> None:
        self._stretcher = Stretcher(turns)
        self._stages: dict[str, torch.fx.GraphModule] = {}
        self._values: dict[str, Values] = {}
        self._reference_input: Values = ()

    def handle(
        self, header: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> tuple[dict[str, Any], Mapping[str, torch.Tensor]]:
        """Answer one request. Raises ValueError for an unknown operation."""
        operation = header.pop("op")
        if operation == "put":
            self._values[header["request"]] = tuple(tensors.values())
            return {}, {}
        if operation == "fetch":
            return {}, {str(i): value for i, value in enumerate(self._values.pop(header["request"]))}
        if operation == "deploy":
            return self._deploy(tensors=tensors, **header), {}
        if operation == "run":
            return self._run(**header), {}
        if operation == "profile":
            return self._profile(**header), {}
        if operation == "probe":
            with self._stretcher.turn():
                self._probe()  # discarded: after an idle period it is slower than after a stage
                return {"probe_cpu_s": self._probe()}, {}
        if operation == "reset":
            self._stages = {name: stage for name, stage in self._stages.items() if name == REFERENCE}
            self._values.clear()
            return {}, {}
        raise ValueError(f"unknown operation {operation!r}")

    def _deploy(
        self,
        stage: str,
        program: dict[str, Any],
        inputs: Sequence[Sequence[Any]],
        warmup: int,
        tensors: dict[str, torch.Tensor],
    ) -> dict[str, Any]:
        module = from_program(program, tensors)
        self._stages[stage] = module
        zeros = tuple(Layout(*layout).zeros() for layout in inputs)
        outputs: Values = ()
        for _ in range(warmup):
            outputs = module(*zeros)
        if stage == REFERENCE:
            self._reference_input = zeros
        return {
            "param_bytes": sum(tensor.nbytes for tensor in module.state_dict().values()),
            "outputs": [Layout.of(output) for output in outputs],
        }

    def _run(
        self,
        stage: str,
        request: str,
        takes: str,
        slowdown: float,
        dispatch_s: float = 0.0,
        drift: float = 1.0,
        not_before: float = 0.0,
        reference_s: float = math.inf,
        room: float = PROBE_ROOM,
    ) -> dict[str, Any]:
        """Run a stage on the value `takes`, stretched (see `Stretcher.stretch`)."""
        module, values = self._stages[stage], self._values[takes]
        ran = self._stretcher.stretch(
            lambda: timed(module, values),
            self._probe,
            slowdown,
            dispatch_s=dispatch_s,
            drift=drift,
            not_before=not_before,
            reference_s=reference_s,
            room=room,
        )
        self._values[request] = ran.output
        reply = {key: value for key, value in ran._asdict().items() if key != "output"}
        return {key: value for key, value in reply.items() if value is not None}

    def _probe(self) -> float:
        """CPU seconds of the reference model."""
        self._stretcher.chill_caches()
        return timed(self._stages[REFERENCE], self._reference_input)[1]

    def _profile(
        self, stages: Sequence[str], inputs: Sequence[Sequence[Any]], seed: int, slowdown: float
    ) -> dict[str, Any]:
        """Run stages one after the other, then sleep as in a run; returns each stage's CPU seconds."""
        generator = torch.Generator().manual_seed(seed)
        values: Values = tuple(Layout(*layout).noise(generator) for layout in inputs)
        start = time.perf_counter()
        self._stretcher.chill_caches()
        cpu_s = []
        for stage in stages:
            values, stage_cpu_s = timed(self._stages[stage], values)
            cpu_s.append(stage_cpu_s)
        probe_cpu_s = self._probe()
        sleep_until(start + sum(cpu_s) * slowdown)
        return {"cpu_s": cpu_s, "probe_cpu_s": probe_cpu_s}


def serve(endpoint: str, name: str, parent: int, turns: str) -> None:
    """Answer requests until the message `stop` arrives or the parent process has ended."""
    torch.set_num_threads(1)
    with (
        open(turns, "ab") as lock,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
        torch.inference_mode(),
        subnormals_as_zero(),
    ):
        device = DeviceServer(lock)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IDENTITY, name.encode())
        socket.connect(endpoint)
        socket.send_multipart(wire.encode({"hello": name}))
        while os.getppid() == parent:
            if not socket.poll(PARENT_CHECK_MS):
                continue
            header, tensors = wire.decode(socket.recv_multipart())
            if header["op"] == "stop":
                return
            try:
                reply, values = device.handle(header, tensors)
            except Exception as error:  # every failure is reported to the coordinator, which decides
                reply, values = {"error": f"{type(error).__name__}: {error}"}, {}
            socket.send_multipart(wire.encode(reply, values))


if __name__ == "__main__":
    serve(endpoint=sys.argv[1], name=sys.argv[2], parent=int(sys.argv[3]), turns=sys.argv[4])
