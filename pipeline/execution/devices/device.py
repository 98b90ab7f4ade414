"""A device as an OS process: holds stages and values, and runs one stage at a time. Shell.

Started as `python -m pipeline.execution.devices.device ENDPOINT NAME PARENT_PID`.
It needs only torch, pyzmq and safetensors.
Requests (header "op") and their replies:
    deploy   a stage's program and parameters; run it `warmup` times on zeros with the layouts `inputs`
             -> param_bytes, and the layouts of its outputs if it ran
    put      tensors: the present value of a request                          -> nothing
    run      a stage on a value (`takes`); its output is the request's new value       -> cpu_s
    fetch    return and forget the value of a request                         -> tensors
    drop     forget the value of a request                                    -> nothing
    profile  run a chain of deployed stages on seeded noise with the layouts `inputs`  -> cpu_s of each
    probe    run the stage REFERENCE on zeros, to measure this host's speed            -> cpu_s
    reset    forget all stages but REFERENCE, and all values                  -> nothing
All CPU seconds are those of steady work (see `steady`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import zmq

from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.network.stage_program import from_program
from pipeline.network.subnormals import subnormals_as_zero

PARENT_CHECK_MS = 2000
REFERENCE = "reference"
"""Name of the stage that measures this host's speed."""
Values = tuple[torch.Tensor, ...]


def steady(stages: Sequence[torch.fx.GraphModule], values: Values) -> tuple[Values, list[float]]:
    """The output of stages that run one after the other, and the CPU seconds of each in steady work.

    They run twice, and the second time counts. The first one brings weights, code and memory into the caches,
    as far as they fit: after an idle period, or after another process, a stage takes 10 to 30% longer.
    """
    # thread_time excludes the thread that moves messages; with one torch thread it covers all computation.
    for _ in range(2):
        output, cpu_s = values, []
        for stage in stages:
            begin = time.thread_time()
            output = stage.forward(*output)
            cpu_s.append(time.thread_time() - begin)
    return output, cpu_s


class DeviceServer:
    """The stages and values that one device holds."""

    def __init__(self) -> None:
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
        if operation == "drop":
            del self._values[header["request"]]
            return {}, {}
        if operation == "deploy":
            return self._deploy(tensors=tensors, **header), {}
        if operation == "run":
            return self._run(**header), {}
        if operation == "profile":
            return self._profile(**header), {}
        if operation == "probe":
            return {"cpu_s": steady([self._stages[REFERENCE]], self._reference_input)[1][0]}, {}
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

    def _run(self, stage: str, request: str, takes: str) -> dict[str, Any]:
        self._values[request], (cpu_s,) = steady([self._stages[stage]], self._values[takes])
        return {"cpu_s": cpu_s}

    def _profile(self, stages: Sequence[str], inputs: Sequence[Sequence[Any]], seed: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)
        values: Values = tuple(Layout(*layout).noise(generator) for layout in inputs)
        return {"cpu_s": steady([self._stages[stage] for stage in stages], values)[1]}


def serve(endpoint: str, name: str, parent: int) -> None:
    """Answer requests until the message `stop` arrives or the parent process has ended."""
    torch.set_num_threads(1)
    with (
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
        torch.inference_mode(),
        subnormals_as_zero(),
    ):
        device = DeviceServer()
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
    # The parent was killed: it could not remove its folder.
    if endpoint.startswith("ipc://"):
        file = Path(endpoint.removeprefix("ipc://"))
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another device has removed it
            file.parent.rmdir()


if __name__ == "__main__":
    serve(endpoint=sys.argv[1], name=sys.argv[2], parent=int(sys.argv[3]))
