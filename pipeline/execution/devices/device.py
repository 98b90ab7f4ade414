"""A device as an OS process: holds stages and values, runs one stage at a time, stretched to its speed.

Started as `python -m pipeline.execution.devices.device ENDPOINT NAME PARENT_PID TURNS`.
It needs torch, pyzmq and safetensors alone.
Requests (header "op") and their replies:
    deploy   a stage's program and parameters; runs it `warmup` times on zeros -> param_bytes
    put      tensors: the value that a request stands at                       -> nothing
    run      a stage on a value (`takes`); its output is the request's new one
             -> start, end, late_s, cpu_s, drift, and look_cpu_s if it took a look
    fetch    hand over, and forget, the value of a request                     -> tensors
    profile  run a chain of deployed stages once, on seeded noise of `shapes`  -> cpu_s of each, look_cpu_s
    look     run the stage REFERENCE on zeros: how quick is this host now?     -> look_cpu_s
    reset    forget all stages, but for REFERENCE, and all values              -> nothing
`start` and `end` are readings of time.perf_counter, which all processes of one host share; late_s is what
the stage took beyond `end`, when it should have ended, because this host was busy with something else.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import torch
import zmq

from pipeline.execution.devices import wire
from pipeline.network.stage_program import from_program

try:
    import fcntl
except ImportError:  # no such locks on Windows: devices that compute at once then slow each other down
    fcntl = None  # type: ignore[assignment]


Values = tuple[torch.Tensor, ...]
PARENT_CHECK_MS = 2000
REFERENCE = "reference"
"""Name of the stage that is this host's yardstick."""
LOOK_ROOM = 2.0
"""A stage that sleeps out its time gives some to a look if that is so many times what a look takes."""
COLD_BYTES = 2**24
"""Touched before each stage. How warm it finds its caches would else depend on the load and on who ran
before: back to back a stage was up to a tenth quicker than after an idle moment."""


class DeviceServer:
    """The stages and values that one device holds.

    Devices that compute at once would share this host's caches and memory bandwidth, and each would seem
    slower than it is alone. So they take turns, by a lock on a file; who computed sleeps out its stage after.
    """

    def __init__(self, turns: IO[bytes]) -> None:
        self._turns = turns
        self._cold = torch.zeros(COLD_BYTES, dtype=torch.int8)
        self._stages: dict[str, torch.fx.GraphModule] = {}
        self._values: dict[str, Values] = {}
        self._reference: Values = ()
        """What REFERENCE takes in."""

    def handle(
        self, header: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> tuple[dict[str, Any], Mapping[str, torch.Tensor]]:
        """Answer one request."""
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
        if operation == "look":
            with _turn(self._turns):
                self._look()  # else, after an idle moment, it would be slower than after a stage
                return {"look_cpu_s": self._look()}, {}
        if operation == "reset":
            self._stages = {name: stage for name, stage in self._stages.items() if name == REFERENCE}
            self._values.clear()
            return {}, {}
        raise ValueError(f"unknown operation {operation!r}")

    def _deploy(
        self,
        stage: str,
        program: dict[str, Any],
        inputs: Sequence[tuple[Sequence[int], str]],
        warmup: int,
        tensors: dict[str, torch.Tensor],
    ) -> dict[str, Any]:
        module = from_program(program, tensors)
        self._stages[stage] = module
        zeros = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in inputs)
        for _ in range(warmup):
            module(*zeros)
        if stage == REFERENCE:
            self._reference = zeros
        return {"param_bytes": sum(tensor.nbytes for tensor in module.state_dict().values())}

    def _run(
        self,
        stage: str,
        request: str,
        takes: str,
        slowdown: float,
        drift: float = 1.0,
        not_before: float = 0.0,
        reference_s: float = math.inf,
        room: float = LOOK_ROOM,
    ) -> dict[str, Any]:
        """Run a stage on the value that it takes; its wall time becomes CPU time ÷ drift * slowdown.

        drift: how many times as slow as when profiled this host is. reference_s: what REFERENCE took then. If
        the stage has `room` times as much time left (and it is nobody's turn), that is used for a look, which
        then counts for half of the drift; infinite: no look.
        """
        values = self._values[takes]
        _sleep_until(not_before)
        start = time.perf_counter()
        with _turn(self._turns):
            self._cold.add_(1)
            output, cpu_s = _timed(self._stages[stage], values)
        looked: dict[str, float] = {}
        left_s = start + cpu_s / drift * slowdown - time.perf_counter()
        if left_s > room * reference_s:
            with _turn(self._turns, wait=False) as mine:
                if mine:
                    looked["look_cpu_s"] = self._look()
                    drift = (drift + looked["look_cpu_s"] / reference_s) / 2
        end = start + cpu_s / drift * slowdown
        _sleep_until(end)
        self._values[request] = output
        late_s = time.perf_counter() - end
        return {"start": start, "end": end, "late_s": late_s, "cpu_s": cpu_s, "drift": drift, **looked}

    def _look(self) -> float:
        self._cold.add_(1)
        return _timed(self._stages[REFERENCE], self._reference)[1]

    def _profile(
        self, stages: Sequence[str], shapes: Sequence[Sequence[int]], seed: int, slowdown: float
    ) -> dict[str, Any]:
        """CPU seconds of each stage, one after the other, then stretched as a run would be."""
        generator = torch.Generator().manual_seed(seed)
        values: Values = tuple(torch.randn(shape, generator=generator) for shape in shapes)
        start = time.perf_counter()
        self._cold.add_(1)
        cpu_s = []
        for stage in stages:
            values, stage_cpu_s = _timed(self._stages[stage], values)
            cpu_s.append(stage_cpu_s)
        look_cpu_s = self._look()
        _sleep_until(start + sum(cpu_s) * slowdown)
        return {"cpu_s": cpu_s, "look_cpu_s": look_cpu_s}


@contextlib.contextmanager
def _turn(turns: IO[bytes], *, wait: bool = True) -> Iterator[bool]:
    """Whether it is this device's turn to compute; with `wait` it is in the end."""
    if fcntl is None:
        yield True
        return
    try:
        fcntl.flock(turns, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(turns, fcntl.LOCK_UN)


def _timed(module: torch.fx.GraphModule, values: Values) -> tuple[Values, float]:
    # thread_time leaves out the thread that moves messages; with one torch thread it has all of the work.
    begin = time.thread_time()
    output = module.forward(*values)
    return output, time.thread_time() - begin


def _sleep_until(moment: float) -> None:
    remaining = moment - time.perf_counter()
    if remaining > 0:
        time.sleep(remaining)


def serve(endpoint: str, name: str, parent: int, turns: str) -> None:
    """Answer requests until told to stop or until the process that started this one is gone."""
    torch.set_num_threads(1)
    with (
        open(turns, "ab") as lock,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
        torch.inference_mode(),
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
            except Exception as error:  # every failure travels to the coordinator, which decides
                reply, values = {"error": f"{type(error).__name__}: {error}"}, {}
            socket.send_multipart(wire.encode(reply, values))


if __name__ == "__main__":
    serve(endpoint=sys.argv[1], name=sys.argv[2], parent=int(sys.argv[3]), turns=sys.argv[4])
