"""What each layer takes on each device: measured in the device's process, and kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pipeline.backends.pool import DevicePool, machine_lock, shared_pool
from pipeline.domain import Device, Fleet, require_number
from pipeline.graph import Graph
from pipeline.models import ModelSpec

MAX_PROFILE_SLOWDOWN = 4.0
"""Stretching leaves caches cold, as a run does; more than this adds time, not coldness."""
PARTS = 4
"""Stages that the model is cut into to see what starting a stage costs."""


class HostReference:
    """This host's CPU time for the fleet's reference model: the yardstick of speed and of drift."""

    def __init__(self, model: str) -> None:
        self._module = ModelSpec(name=model, library="torchvision").build()
        self._input = torch.zeros(1, 3, 224, 224)

    def cpu_s(self) -> float:
        """CPU seconds of one inference, batch 1, one thread; the first of two is thrown away."""
        with torch.inference_mode():
            self._module(self._input)
            begin = time.thread_time()
            self._module(self._input)
            return time.thread_time() - begin


@functools.cache
def host_reference(model: str) -> HostReference:
    """The yardstick, built once a process."""
    return HostReference(model)


@dataclass(frozen=True)
class Profile:
    """One row per device and layer.

    Columns: device, layer, name, op, cpu_s (CPU seconds on this host, measured in the device's process),
    wall_s (seconds on the device: cpu_s ÷ its speed), param_bytes, peak_bytes, boundary_bytes (entering).
    """

    table: pd.DataFrame
    speeds: Mapping[str, float]
    """Of each device, relative to this host when profiled."""
    reference_cpu_s: float
    """This host's CPU seconds for the reference model when profiled."""
    task_cpu_s: Mapping[str, float]
    """CPU seconds that starting a stage costs on each device, beyond its layers: caches are cold."""
    dispatch_s: float
    """Seconds between a task's being ready and its start, where nothing has to be moved."""
    _cpu_s: Mapping[str, npt.NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sums = {
            str(device): np.concatenate([[0.0], np.cumsum(rows["cpu_s"].to_numpy(dtype=float))])
            for device, rows in self.table.groupby("device", sort=False)
        }
        object.__setattr__(self, "_cpu_s", sums)

    def cumulative_s(self, device: str) -> npt.NDArray[np.float64]:
        """Seconds on the device of the first k layers, for k = 0 ... layers."""
        return self._cpu_s[device] / self.speeds[device]

    def stage_s(self, device: str, begin: int, end: int) -> float:
        """Seconds that a stage of layers[begin:end] takes on the device."""
        cumulative = self.cumulative_s(device)
        return float(cumulative[end] - cumulative[begin]) + self.task_s(device)

    def task_s(self, device: str) -> float:
        """Seconds that starting a stage costs on the device."""
        return self.task_cpu_s[device] / self.speeds[device]

    def to_json(self) -> str:
        """All of it, as text."""
        return json.dumps(
            {
                "speeds": dict(self.speeds),
                "reference_cpu_s": self.reference_cpu_s,
                "task_cpu_s": dict(self.task_cpu_s),
                "dispatch_s": self.dispatch_s,
                "table": self.table.to_csv(index=False),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of `to_json`."""
        value = json.loads(text)
        table = pd.read_csv(io.StringIO(value.pop("table")), float_precision="round_trip")
        return cls(table=table, **value)


def speed(device: Device, reference_cpu_s: float) -> float:
    """A device's speed relative to one core of this host (see Device)."""
    if device.speed is not None:
        return device.speed
    if device.reference_latency_s is not None:
        return reference_cpu_s / device.reference_latency_s
    return device.cpu_quota


@dataclass(frozen=True)
class Profiler:
    """Measures a profile, or reads the kept one of the same model, devices, torch and processor."""

    warmup: int = 2
    repeats: int = 8
    cache_dir: str | None = ".cache/profiles"

    def __post_init__(self) -> None:
        require_number("profiler", "warmup", self.warmup, least=0)
        require_number("profiler", "repeats", self.repeats, least=1)

    def profile(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> Profile:
        """The profile of a graph on a fleet."""
        if self.cache_dir is None:
            return self.measure(graph, fleet)
        path = Path(self.cache_dir) / f"{spec.name}-{fleet.name}-{self._fingerprint(spec, graph, fleet)}.json"
        # A file that is not there, is broken, or comes from another version.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return Profile.from_json(path.read_text())
        profile = self.measure(graph, fleet)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(profile.to_json())
        partial.replace(path)
        return profile

    def _fingerprint(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> str:
        parts = (
            spec,
            [(layer.name, layer.op, layer.param_bytes, layer.peak_bytes) for layer in graph.layers],
            [(d.name, d.cpu_quota, d.speed, d.reference_latency_s) for d in fleet.devices],
            fleet.reference_model,
            torch.__version__,
            processor(),
            (self.warmup, self.repeats),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def measure(self, graph: Graph, fleet: Fleet) -> Profile:
        """Time every layer in every device's process, devices and the host's yardstick interleaved."""
        with machine_lock():
            return self._measure(graph, fleet)

    def _measure(self, graph: Graph, fleet: Fleet) -> Profile:
        reference = host_reference(fleet.reference_model)
        speeds = {device.name: speed(device, reference.cpu_s()) for device in fleet.devices}
        pool = shared_pool(list(fleet.by_name))
        bench = {name: _Bench(pool, name, graph, 1 / speeds[name]) for name in fleet.by_name}
        reference_s = []
        for repeat in range(self.warmup + self.repeats):
            reference_s.append(reference.cpu_s())
            for device in bench.values():
                device.measure(keep=repeat >= self.warmup)
        for name in bench:
            pool.call(name, {"op": "reset"})
        reference_cpu_s = float(np.median(reference_s[self.warmup :]))
        speeds = {device.name: speed(device, reference_cpu_s) for device in fleet.devices}
        times = {name: split_times(b.layer_s, b.whole_s, b.parts_s) for name, b in bench.items()}
        tables = [_rows(graph, name, speeds[name], layers) for name, (layers, _) in times.items()]
        return Profile(
            table=pd.concat(tables, ignore_index=True),
            speeds=speeds,
            reference_cpu_s=reference_cpu_s,
            task_cpu_s={name: task for name, (_, task) in times.items()},
            dispatch_s=float(np.median([wait for b in bench.values() for wait in b.dispatch_s])),
        )


class _Bench:
    """One device's process under measurement: the model layer by layer, whole, and in parts."""

    def __init__(self, pool: DevicePool, name: str, graph: Graph, slowdown: float) -> None:
        self._pool = pool
        self._name = name
        self._slowdown = min(max(1.0, slowdown), MAX_PROFILE_SLOWDOWN)
        self._layers = [f"layer {layer.index}" for layer in graph.layers]
        (model_input,) = graph.cuts[0].tensors
        self._input = torch.randn(model_input.shape, generator=torch.Generator().manual_seed(0))
        self.layer_s: list[list[float]] = []
        self.whole_s: list[float] = []
        self.parts_s: list[list[float]] = []
        self.dispatch_s: list[float] = []
        pool.call(name, {"op": "reset"})
        for index, layer in enumerate(self._layers):
            pool.deploy(name, layer, graph, index, index + 1)
        pool.deploy(name, "whole", graph, 0, len(graph))
        bounds = sorted({round(part * len(graph) / PARTS) for part in range(PARTS + 1)})
        self._parts = [f"part {index}" for index in range(len(bounds) - 1)]
        for part, begin, end in zip(self._parts, bounds, bounds[1:], strict=False):
            pool.deploy(name, part, graph, begin, end)

    def measure(self, *, keep: bool) -> None:
        """One pass of each kind."""
        shape = list(self._input.shape)
        reply, _ = self._pool.call(
            self._name,
            {"op": "profile", "stages": self._layers, "shape": shape, "seed": 0, "slowdown": self._slowdown},
        )
        (whole, dispatch) = self._run(["whole"])
        (parts, _) = self._run(self._parts)
        if keep:
            self.layer_s.append(reply["cpu_s"])
            self.whole_s += whole
            self.parts_s.append(parts)
            self.dispatch_s += dispatch

    def _run(self, stages: Sequence[str]) -> tuple[list[float], list[float]]:
        """CPU seconds of each stage, and the seconds that each call took beyond its stage, as in a run."""
        self._pool.call(self._name, {"op": "put", "request": "profile"}, {"0": self._input})
        cpu_s, dispatch_s = [], []
        for stage in stages:
            begin = time.perf_counter()
            header = {"op": "run", "stage": stage, "request": "profile", "slowdown": self._slowdown}
            reply, _ = self._pool.call(self._name, {**header, "not_before": 0.0})
            dispatch_s.append(time.perf_counter() - begin - (reply["end"] - reply["start"]))
            cpu_s.append(reply["cpu_s"])
        return cpu_s, dispatch_s


Seconds = Sequence[float]


def split_times(
    layer_s: Sequence[Seconds], whole_s: Seconds, parts_s: Sequence[Seconds]
) -> tuple[npt.NDArray[np.float64], float]:
    """CPU seconds of each layer, and of starting a stage: with one start they add up to the whole model.

    layer_s: passes x layers, run one by one; whole_s: passes; parts_s: passes x parts. Medians over passes.
    n parts start n - 1 times more often than the whole, so a start costs (parts - whole) / (n - 1). A layer
    on its own costs a call, which a stage of many does not: each loses the same share of what their sum is
    over the whole, and what rounding at zero leaves is scaled away.
    """
    layers = np.median(np.asarray(layer_s, dtype=float), axis=0)
    whole = float(np.median(whole_s))
    parts = np.asarray(parts_s, dtype=float)
    starts = parts.shape[1] - 1
    task = float(np.median(parts.sum(axis=1)) - whole) / starts if starts else 0.0
    task = min(max(task, 0.0), whole / 2)
    inside = whole - task
    call = max(0.0, (layers.sum() - inside) / len(layers))
    layers = np.maximum(layers - call, 0.0)
    return np.asarray(layers * (inside / layers.sum())), task


def _rows(graph: Graph, device: str, speed: float, cpu_s: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "device": device,
            "layer": [layer.index for layer in graph.layers],
            "name": [layer.name for layer in graph.layers],
            "op": [layer.op for layer in graph.layers],
            "cpu_s": cpu_s,
            "wall_s": cpu_s / speed,
            "param_bytes": [layer.param_bytes for layer in graph.layers],
            "peak_bytes": [layer.peak_bytes for layer in graph.layers],
            "boundary_bytes": [cut.num_bytes for cut in graph.cuts[:-1]],
        }
    )


def processor() -> str:
    """This host's processor, as it names itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
