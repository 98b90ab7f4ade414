"""The device processes of this host: start them, exchange messages with them, end them. Shell."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
import zmq
from torch import fx

from pipeline.domain.plan import COMPRESSIONS
from pipeline.execution.devices import wire
from pipeline.execution.devices.device import REFERENCE
from pipeline.execution.devices.device_error import DeviceError
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.process import start_device
from pipeline.network.compression import with_codecs
from pipeline.network.graph import Graph
from pipeline.network.stage_program import program

START_TIMEOUT_S = 120
PATIENCE_S = 600.0
"""Default of `DevicePool.patience_s`."""
PATIENCE = 20
"""Multiple of the expected time for which a device may take before it counts as hung."""
CLOSE_S = 3.0
"""Time for all processes to end by themselves."""
MOST_LETTERS = 70
"""Longest path of the temporary directory. Systems allow a socket file 104 to 108 letters."""
POLL_MS = 1000
"""Time to wait for a reply before checking that the process still runs."""


class DevicePool:
    """One OS process a device, each with one torch thread.

    Messages pass through a socket file in a directory that only this user may enter; without such sockets,
    through loopback TCP. Raises DeviceError if a process does not start.
    """

    def __init__(self, names: Iterable[str] = (), patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        """Seconds without an answer, beyond PATIENCE times those expected, after which a device has hung."""
        self._directory = tempfile.TemporaryDirectory(prefix="carbonedge-", dir=_short_folder())
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        address = f"ipc://{self._directory.name}/devices" if os.name == "posix" else "tcp://127.0.0.1:*"
        self._socket.bind(address)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._references: dict[str, Graph] = {}
        """The reference model that each device holds."""
        self._closed = False
        self.start(names)

    def start(self, names: Iterable[str]) -> None:
        """Start the processes of these devices, unless they run. Raises DeviceError if one does not start."""
        waiting = set(names) - self._processes.keys()
        try:
            for name in waiting:
                self._processes[name] = start_device(self._endpoint, name)
            while waiting:
                waiting.discard(self._receive(next(iter(waiting)), "start", START_TIMEOUT_S)[0])
        except BaseException:
            self.close()
            raise

    def call(
        self,
        name: str,
        header: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor] | None = None,
        expected_s: float = 0.0,
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Send a device a message and wait for its reply, which is expected after that many seconds.

        Raises DeviceError if the device fails, has ended, or does not answer (see `patience_s`).
        """
        return wire.decode(self.forward(name, wire.encode(header, tensors), expected_s))

    def forward(self, name: str, frames: Sequence[bytes], expected_s: float = 0.0) -> list[bytes]:
        """`call` on encoded messages, without decoding the tensors.

        An exchange that is interrupted closes the pool, as its reply could be taken for another's.
        """
        try:
            reply = self._exchange(name, frames, expected_s)
        except BaseException:
            self.close()
            raise
        failure = wire.header(reply).get("error")
        if failure is not None:
            raise DeviceError(f"device {name}: {failure}")
        return reply

    def _exchange(self, name: str, frames: Sequence[bytes], expected_s: float) -> list[bytes]:
        try:
            self._socket.send_multipart([name.encode(), *frames])
        except zmq.ZMQError as error:  # the connection is closed
            self._require_running(name)
            raise DeviceError(f"the process of device {name} cannot be reached ({error})") from error
        sender, reply = self._receive(
            name, _task(wire.header(frames)), self.patience_s + PATIENCE * expected_s
        )
        assert sender == name, f"{sender} answered instead of {name}"
        return reply

    def deploy(
        self,
        name: str,
        stage: str,
        graph: Graph,
        begin: int,
        end: int,
        *,
        before: str = COMPRESSIONS[0],
        after: str = COMPRESSIONS[0],
        inputs: Sequence[Layout] = (),
        warmup: int = 0,
    ) -> list[Layout]:
        """Send layers[begin:end] to a device, as the stage of that name, and run them `warmup` times there.

        before, after: the compressions (of COMPRESSIONS) of the stage's inputs and outputs. inputs: the
        layouts of the tensors that arrive, which only the warm-up needs. Returns those of the stage's
        results; none without a warm-up.
        """
        tensors, results = graph.cuts[begin].tensors, graph.cuts[end].tensors
        module = with_codecs(graph.stage(begin, end), tensors, before, results, after)
        return self.deploy_module(name, stage, module, inputs, warmup)

    def deploy_module(
        self, name: str, stage: str, module: fx.GraphModule, inputs: Sequence[Layout] = (), warmup: int = 0
    ) -> list[Layout]:
        """Send any module of aten operators to a device; inputs, warmup and result as for `deploy`."""
        description, parameters = program(module)
        header = {"op": "deploy", "stage": stage, "program": description, "inputs": inputs, "warmup": warmup}
        reply, _ = self.call(name, header, parameters)
        return [Layout(*layout) for layout in reply["outputs"]]

    def set_reference(self, name: str, graph: Graph) -> None:
        """Send a device the reference model (see `probe_reference`), unless it holds it."""
        if self._references.get(name) is not graph:
            inputs = [Layout.contiguous(tensor) for tensor in graph.cuts[0].tensors]
            self.deploy(name, REFERENCE, graph, 0, len(graph), inputs=inputs, warmup=2)
            self._references[name] = graph

    def probe_reference(self, name: str) -> float:
        """CPU seconds of the reference model on a device, now."""
        return float(self.call(name, {"op": "probe"})[0]["cpu_s"])

    def _receive(self, name: str, task: str, patience_s: float) -> tuple[str, list[bytes]]:
        """The next message, from any device; `name` and `task` are whose and which is awaited."""
        # Waits are counted, as a clock would also count the time for which this process is suspended.
        since, waited_ms = datetime.now(UTC), 0
        while not self._socket.poll(POLL_MS):
            waited_ms += POLL_MS
            self._require_running(name)
            if waited_ms > patience_s * 1000:
                raise DeviceError(
                    f"device {name} has not answered for {waited_ms / 1000:g} s, since {since:%H:%M:%S} UTC: "
                    f"{task}"
                )
        sender, *frames = self._socket.recv_multipart()
        return sender.decode(), frames

    def _require_running(self, name: str) -> None:
        """Raise DeviceError if a device's process has ended."""
        code = self._processes[name].poll()
        if code is not None:
            raise DeviceError(f"the process of device {name} has ended (exit code {code})")

    def alive(self) -> bool:
        """Whether the pool is open and every device's process still runs."""
        return not self._closed and all(process.poll() is None for process in self._processes.values())

    def close(self) -> None:
        """End all processes. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for name in self._processes:
            with contextlib.suppress(zmq.ZMQError):
                self._socket.send_multipart([name.encode(), *wire.encode({"op": "stop"})])
        until = time.monotonic() + CLOSE_S
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = {}
        self._socket.close()
        self._context.term()
        self._directory.cleanup()


def _task(header: Mapping[str, Any]) -> str:
    """What a message asks of a device, such as `run, stage 0, request 7`."""
    return ", ".join(
        [header["op"], *(f"{key} {header[key]}" for key in ("stage", "request") if key in header)]
    )


def _short_folder() -> str | None:
    """The folder for the socket file: None for the usual one, unless its path is too long for a socket."""
    return None if len(tempfile.gettempdir()) <= MOST_LETTERS else "/tmp"


_shared: list[DevicePool] = []
"""The pool of this process, if there is one."""


def shared_pool(names: Iterable[str]) -> DevicePool:
    """The pool of this process, with these devices; kept between trials: to start a device takes seconds."""
    if _shared and not _shared[0].alive():
        discard_pool()
    if not _shared:
        _shared.append(DevicePool())
    _shared[0].start(names)
    return _shared[0]


@atexit.register
def discard_pool() -> None:
    """End the kept pool, for example after a failure that leaves it in an unknown state."""
    while _shared:
        _shared.pop().close()
