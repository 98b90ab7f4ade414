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

from pipeline.backends.pool import DevicePool, shared_pool
from pipeline.domain import Device, Fleet, require_number
from pipeline.graph import Graph
from pipeline.models import ModelSpec

MAX_PROFILE_SLOWDOWN = 4.0
"""Stretching leaves caches cold, as a run does; more than this adds time, not coldness."""


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
        """Seconds that layers[begin:end] take on the device."""
        cumulative = self.cumulative_s(device)
        return float(cumulative[end] - cumulative[begin])

    def to_json(self) -> str:
        """All of it, as text."""
        return json.dumps(
            {
                "speeds": dict(self.speeds),
                "reference_cpu_s": self.reference_cpu_s,
                "table": self.table.to_csv(index=False),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of `to_json`."""
        value = json.loads(text)
        table = pd.read_csv(io.StringIO(value["table"]), float_precision="round_trip")
        return cls(table, value["speeds"], value["reference_cpu_s"])


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
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
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
        reference = host_reference(fleet.reference_model)
        speeds = {device.name: speed(device, reference.cpu_s()) for device in fleet.devices}
        pool = shared_pool(list(fleet.by_name))
        layers = range(len(graph.layers))
        for name in fleet.by_name:
            pool.call(name, {"op": "reset"})
            for index in layers:
                pool.deploy(name, f"layer {index}", graph, index, index + 1)
            pool.deploy(name, "whole", graph, 0, len(graph.layers))
        reference_s: list[float] = []
        layer_s: dict[str, list[list[float]]] = {name: [] for name in fleet.by_name}
        whole_s: dict[str, list[float]] = {name: [] for name in fleet.by_name}
        for _ in range(self.warmup + self.repeats):
            reference_s.append(reference.cpu_s())
            for name in fleet.by_name:
                slowdown = min(max(1.0, 1 / speeds[name]), MAX_PROFILE_SLOWDOWN)
                layer_s[name].append(_pass(pool, name, graph, [f"layer {i}" for i in layers], slowdown))
                whole_s[name] += _pass(pool, name, graph, ["whole"], slowdown)
        for name in fleet.by_name:
            pool.call(name, {"op": "reset"})
        reference_cpu_s = float(np.median(reference_s[self.warmup :]))
        speeds = {device.name: speed(device, reference_cpu_s) for device in fleet.devices}
        tables = [
            _rows(
                graph,
                name,
                speeds[name],
                layers_from_passes(layer_s[name][self.warmup :], whole_s[name][self.warmup :]),
            )
            for name in fleet.by_name
        ]
        return Profile(pd.concat(tables, ignore_index=True), speeds, reference_cpu_s)


def _pass(pool: DevicePool, name: str, graph: Graph, stages: Sequence[str], slowdown: float) -> list[float]:
    shape = graph.cuts[0].tensors[0].shape
    reply, _ = pool.call(
        name, {"op": "profile", "stages": stages, "shape": shape, "seed": 0, "slowdown": slowdown}
    )
    return list(reply["cpu_s"])


def layers_from_passes(
    layer_s: Sequence[Sequence[float]], whole_s: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Seconds of each layer, adding up to the whole model's.

    Layers run one by one cost a call each, which a stage of many layers does not: the median over passes of
    each layer loses the same share of the difference between their sum and the whole, and what rounding at
    zero leaves is scaled away. layer_s: passes x layers; whole_s: passes.
    """
    layers = np.median(np.asarray(layer_s, dtype=float), axis=0)
    whole = float(np.median(whole_s))
    call = max(0.0, (layers.sum() - whole) / len(layers))
    layers = np.maximum(layers - call, 0.0)
    return np.asarray(layers * (whole / layers.sum()))


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
