"""What each layer takes on each device: measured in the device's process, and kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import math
import platform
import statistics
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pipeline.backends.pool import DevicePool, shared_pool
from pipeline.compression import decoder, encoded_specs, encoder
from pipeline.domain import COMPRESSIONS, ConfigError, Cut, require, require_number, require_whole
from pipeline.fleet import Device, Fleet
from pipeline.graph import Graph
from pipeline.locks import machine_lock
from pipeline.models import ModelSpec

MAX_PROFILE_SLOWDOWN = 4.0
"""Stretching leaves caches cold, as a run does; more than this adds time, not coldness."""
PARTS = 8
"""Stages that the model is cut into to see what starting a stage costs, and what its regions take."""
HELD_OUT_PARTS = 4
"""Stages, cut at random, that the fit does not see: they tell how far off its predictions are."""
HELD_OUT_EVERY = 2
"""Passes from one run of those to the next: knowing its error must not make a profile much longer."""
RECENT_LOOKS = 2
"""At this host's speed, by which a stage's CPU time is told."""
FIRST_LOOKS = 15
"""On each device before anything is profiled: their median is the reference."""
METHOD = 2
"""How profiles are measured: those kept from another way are not used."""
CLOCK_S = 1e-9
"""The least time that the clock tells."""
MAX_ERROR = 0.15
"""A profile that is further off says so."""
CODECS = tuple(f"{compression} {way}" for compression in COMPRESSIONS[1:] for way in ("encode", "decode"))

_log = logging.getLogger(__name__)


@functools.cache
def reference_graph(model: str) -> Graph:
    """The yardstick of speeds and of drift: a torchvision model at 224 x 224, batch 1."""
    return Graph.of(ModelSpec(name=model, library="torchvision").build(), torch.zeros(1, 3, 224, 224), model)


class Drift:
    """How many times as slow as its reference this host is, as the last few looks tell.

    Who shares its processor cores makes it half as slow again from one second to the next; what a stage
    takes is told as of the speed at that moment.
    """

    def __init__(self, reference_cpu_s: float) -> None:
        self.reference_cpu_s = reference_cpu_s
        self._looks: list[float] = []

    def add(self, cpu_s: float) -> None:
        """A look: CPU seconds of the reference model just now."""
        self._looks.append(cpu_s / self.reference_cpu_s)

    @property
    def now(self) -> float:
        """Of at least one look, the mean of the last RECENT_LOOKS."""
        return statistics.mean(self._looks[-RECENT_LOOKS:])

    @property
    def overall(self) -> float:
        """The median of all looks."""
        return statistics.median(self._looks)


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
    codec_cpu_s: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """By device and codec (`int8 encode` ...): a and b of its CPU seconds, a + b * bytes as float32."""
    error: Mapping[str, float] = field(default_factory=dict)
    """By device: |measured ÷ predicted - 1| of held-out stages, the 95th percentile (see Profiler)."""
    variation: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By device: what the whole model and its parts took in each pass ÷ their medians."""
    _cpu_s: Mapping[str, npt.NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_number("profile", "reference_cpu_s", self.reference_cpu_s, least=0, above=True)
        require_number("profile", "dispatch_s", self.dispatch_s, least=0)
        for name, value in self.speeds.items():
            require_number(f"profile of {name}", "speed", value, least=0, above=True)
            require_number(f"profile of {name}", "task_cpu_s", self.task_cpu_s.get(name), least=0)
        for device, rows in self.table.groupby("device", sort=False):
            _require_times(str(device), rows)
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

    def encode_s(self, device: str, compression: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds on the device to compress tensors of so many bytes as float32; 0 for float32.

        Raises ConfigError where the profile has no measurement of that codec.
        """
        return self._codec_s(device, f"{compression} encode", num_bytes)

    def decode_s(self, device: str, compression: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds on the device to restore tensors of so many bytes as float32; see `encode_s`."""
        return self._codec_s(device, f"{compression} decode", num_bytes)

    def _codec_s(self, device: str, codec: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        sizes = np.asarray(num_bytes, dtype=float)
        if codec.startswith("float32 "):
            return np.zeros_like(sizes)
        line = self.codec_cpu_s.get(device, {}).get(codec)
        if line is None:
            raise ConfigError(f"compression: the profile has no time of {codec} on {device}; measure it anew")
        return np.asarray((line[0] + line[1] * sizes) / self.speeds[device])

    def reordered(self, order: Sequence[int]) -> Profile:
        """The profile of the chain whose layer k is this one's layer order[k].

        Without boundary_bytes: other tensors cross between layers in another order.
        """
        places = list(order)
        tables = []
        for device, rows in self.table.groupby("device", sort=False):
            known = rows.sort_values("layer")
            require(
                sorted(places) == known["layer"].tolist(),
                f"order: must hold each of the {len(known)} layers of {device} once (order: {tuple(places)})",
            )
            tables.append(known.iloc[places].assign(layer=range(len(places))))
        table = pd.concat(tables, ignore_index=True).drop(columns="boundary_bytes", errors="ignore")
        return replace(self, table=table)

    def to_json(self) -> str:
        """All of it, as text."""
        return json.dumps(
            {
                "speeds": dict(self.speeds),
                "reference_cpu_s": self.reference_cpu_s,
                "task_cpu_s": dict(self.task_cpu_s),
                "dispatch_s": self.dispatch_s,
                "codec_cpu_s": {device: dict(lines) for device, lines in self.codec_cpu_s.items()},
                "error": dict(self.error),
                "variation": {device: list(ratios) for device, ratios in self.variation.items()},
                "table": self.table.to_csv(index=False),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of `to_json`."""
        value = json.loads(text)
        table = pd.read_csv(io.StringIO(value.pop("table")), float_precision="round_trip")
        return cls(table=table, **value)


def _require_times(device: str, rows: pd.DataFrame) -> None:
    """A layer may take 0 s, since measuring rounds; all layers of a device may not."""
    for layer, cpu_s in zip(rows["layer"], rows["cpu_s"], strict=True):
        require_number(f"profile of {device}, layer {layer}", "cpu_s", float(cpu_s), least=0)
    require(rows["cpu_s"].sum() > 0, f"profile of {device}: its layers must take more than 0 s together")


def _require_complete(profile: Profile, graph: Graph, fleet: Fleet) -> None:
    """Require a row for every layer on every device, and what else was measured of each device."""
    layers = {str(device): rows["layer"].tolist() for device, rows in profile.table.groupby("device")}
    complete = layers == {name: list(range(len(graph))) for name in fleet.by_name}
    kinds = (profile.speeds, profile.task_cpu_s, profile.codec_cpu_s, profile.error, profile.variation)
    require(
        complete and all(set(kind) == set(fleet.by_name) for kind in kinds),
        f"profile of {graph.name}: must hold every layer on every device of {fleet.name}",
    )


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
    repeats: int = 20
    cache_dir: str | None = ".cache/profiles"

    def __post_init__(self) -> None:
        require_whole("profiler", "warmup", self.warmup)
        require_whole("profiler", "repeats", self.repeats, least=1)

    def profile(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> Profile:
        """The profile of a graph on a fleet."""
        if self.cache_dir is None:
            return self.measure(graph, fleet)
        path = Path(self.cache_dir) / f"{spec.name}-{fleet.name}-{self._fingerprint(spec, graph, fleet)}.json"
        # A file that is not there, is broken or short, or comes from another version.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = Profile.from_json(path.read_text())
            _require_complete(kept, graph, fleet)
            return kept
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
            (self.warmup, self.repeats, METHOD),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def measure(self, graph: Graph, fleet: Fleet) -> Profile:
        """Time every layer in every device's process, devices and the host's yardstick interleaved."""
        _log.info("measuring the profile of %s on %d devices: once", graph.name, len(fleet.devices))
        with machine_lock():
            return self._measure(graph, fleet)

    def _measure(self, graph: Graph, fleet: Fleet) -> Profile:
        pool = shared_pool(list(fleet.by_name))
        pool.set_reference(reference_graph(fleet.reference_model))
        reference_cpu_s = statistics.median(
            pool.look(name) for name in fleet.by_name for _ in range(FIRST_LOOKS)
        )
        drift = Drift(reference_cpu_s)
        speeds = {device.name: speed(device, reference_cpu_s) for device in fleet.devices}
        bench = {name: _Bench(pool, name, graph, 1 / speeds[name], drift) for name in fleet.by_name}
        for repeat in range(self.warmup + self.repeats):
            keep = repeat >= self.warmup
            # Devices take turns after every stage, as in a run: each finds its caches used by another.
            for _ in zip(*(device.turns(keep=keep) for device in bench.values()), strict=True):
                pass
        for name in bench:
            pool.call(name, {"op": "reset"})
        times = {
            name: split_times(b.layer_s, b.whole_s, b.parts_s, b.part_bounds) for name, b in bench.items()
        }
        tables = [_rows(graph, name, speeds[name], layers) for name, (layers, _) in times.items()]
        profile = Profile(
            table=pd.concat(tables, ignore_index=True),
            speeds=speeds,
            reference_cpu_s=reference_cpu_s,
            task_cpu_s={name: task for name, (_, task) in times.items()},
            dispatch_s=float(np.median([wait for b in bench.values() for wait in b.dispatch_s])),
            codec_cpu_s={name: b.codec_cpu_s() for name, b in bench.items()},
            error={name: b.error(*times[name]) for name, b in bench.items()},
            variation={name: b.variation() for name, b in bench.items()},
        )
        for name, error in profile.error.items():
            if error > MAX_ERROR:
                _log.warning(
                    "profile of %s on %s: stages that it was not fitted to took up to %.0f%% more or less "
                    "than it predicts (expected at most %.0f%%); measure again on a quieter host or with "
                    "more profiler.repeats",
                    *(graph.name, name, error * 100, MAX_ERROR * 100),
                )
        return profile


class _Bench:
    """One device's process under measurement: the model layer by layer, whole and in parts, and codecs."""

    def __init__(self, pool: DevicePool, name: str, graph: Graph, slowdown: float, drift: Drift) -> None:
        self._pool = pool
        self._drift = drift
        self._name = name
        self._slowdown = min(max(1.0, slowdown), MAX_PROFILE_SLOWDOWN)
        self._graph = graph
        (model_input,) = graph.cuts[0].tensors
        self._input = torch.randn(model_input.shape, generator=torch.Generator().manual_seed(0))
        self.layer_s: list[list[float]] = []
        self.whole_s: list[float] = []
        self.parts_s: list[list[float]] = []
        self.dispatch_s: list[float] = []
        self._held_out_s: list[list[float]] = []
        self._codec_s: list[list[list[float]]] = []
        pool.call(name, {"op": "reset"})
        num_layers = len(graph)
        self._layers = self._deploy(range(num_layers + 1))
        self._whole = self._deploy([0, num_layers])
        self.part_bounds = sorted({round(part * num_layers / PARTS) for part in range(PARTS + 1)})
        self._parts = self._deploy(self.part_bounds)
        self._held_out_bounds = _random_bounds(num_layers)
        self._held_out = self._deploy(self._held_out_bounds)
        self._cuts = _codec_cuts(graph)
        for cut in self._cuts:
            for codec in CODECS:
                compression, way = codec.split()
                module = (encoder if way == "encode" else decoder)(cut.tensors, compression)
                inputs = cut.tensors if way == "encode" else encoded_specs(cut.tensors, compression)
                pool.deploy_module(name, f"{codec} {cut.index}", module, inputs)

    def _deploy(self, bounds: Sequence[int]) -> list[str]:
        """The stages between these bounds, in the device's process under the names that are returned."""
        names = [f"layers {begin}:{end}" for begin, end in pairwise(bounds)]
        for stage, (begin, end) in zip(names, pairwise(bounds), strict=True):
            self._pool.deploy(self._name, stage, self._graph, begin, end)
        return names

    def turns(self, *, keep: bool) -> Iterator[None]:
        """One pass of each kind, in steps of one stage."""
        layers = self._chain(self._layers, [self._input.shape])
        yield
        whole = yield from self._run(self._whole)
        parts = yield from self._run(self._parts)
        held_out: list[float] = []
        if len(self.layer_s) % HELD_OUT_EVERY == 0:
            held_out = yield from self._run(self._held_out)
        # Each decoder undoes the encoder before it, so that one chain goes through all codecs of a cut.
        codecs = []
        for cut in self._cuts:
            shapes = [tensor.shape for tensor in cut.tensors]
            codecs.append(self._chain([f"{codec} {cut.index}" for codec in CODECS], shapes))
            yield
        if not keep:
            return
        self.layer_s.append(layers)
        self.whole_s += whole
        self.parts_s.append(parts)
        self._codec_s.append(codecs)
        if held_out:
            self._held_out_s.append(held_out)

    def codec_cpu_s(self) -> dict[str, list[float]]:
        """For each codec a and b of its CPU seconds, a + b * bytes (see Profile)."""
        if not self._cuts:
            return {}
        sizes = [cut.num_bytes for cut in self._cuts]
        medians = np.median(np.asarray(self._codec_s, dtype=float), axis=0)  # cuts x codecs
        return {codec: list(fit_line(sizes, medians[:, k])) for k, codec in enumerate(CODECS)}

    def variation(self) -> list[float]:
        """What the whole and its parts took in each pass ÷ their medians."""
        passes = np.column_stack([self.whole_s, np.sum(self.parts_s, axis=1)])
        return [float(ratio) for ratio in (passes / np.median(passes, axis=0)).ravel()]

    def error(self, layers_cpu_s: npt.NDArray[np.float64], task_cpu_s: float) -> float:
        """|measured ÷ predicted - 1| of the held-out stages, the 95th percentile; medians over passes."""
        measured = np.median(np.asarray(self._held_out_s, dtype=float), axis=0)
        predicted = np.add.reduceat(layers_cpu_s, self._held_out_bounds[:-1]) + task_cpu_s
        predicted = np.maximum(predicted, CLOCK_S)
        return float(np.percentile(np.abs(measured / predicted - 1), 95))

    def _chain(self, stages: Sequence[str], shapes: Sequence[Sequence[int]]) -> list[float]:
        """CPU seconds of stages that run one after the other in one call, on noise of these shapes."""
        header = {"op": "profile", "stages": stages, "shapes": [list(shape) for shape in shapes], "seed": 0}
        reply, _ = self._pool.call(self._name, {**header, "slowdown": self._slowdown})
        return self._without_drift(reply["cpu_s"], reply["look_cpu_s"])

    def _without_drift(self, cpu_s: Sequence[float], look_cpu_s: float) -> list[float]:
        """What was just measured, at the host's speed of the reference, by the look that followed it."""
        self._drift.add(look_cpu_s)
        return [seconds / self._drift.now for seconds in cpu_s]

    def _run(self, stages: Sequence[str]) -> Generator[None, None, list[float]]:
        """CPU seconds of each stage, run as in a run; what each call took beyond its stage is dispatch."""
        self._pool.call(self._name, {"op": "put", "request": "profile"}, {"0": self._input})
        cpu_s = []
        for stage in stages:
            begin = time.perf_counter()
            header: dict[str, Any] = {"op": "run", "stage": stage, "request": "profile", "takes": "profile"}
            # A look each time, whether or not the stage leaves room for it.
            header |= {"reference_s": self._drift.reference_cpu_s, "room": -math.inf}
            reply, _ = self._pool.call(self._name, {**header, "slowdown": self._slowdown})
            stage_s = reply["end"] - reply["start"] + reply["late_s"]
            self.dispatch_s.append(time.perf_counter() - begin - stage_s)
            cpu_s += self._without_drift([reply["cpu_s"]], reply["look_cpu_s"])
            yield
        return cpu_s


Seconds = Sequence[float]


def split_times(
    layer_s: Sequence[Seconds], whole_s: Seconds, parts_s: Sequence[Seconds], bounds: Sequence[int]
) -> tuple[npt.NDArray[np.float64], float]:
    """CPU seconds of each layer, and of starting a stage: with one start they add up to the whole model.

    layer_s: passes x layers, run one by one; whole_s: passes; parts_s: passes x parts, which lie between
    bounds. Medians over passes. n parts start n - 1 times more often than the whole, so a start costs
    (parts - whole) / (n - 1). What a part takes beyond its start its layers share (`_within`).
    """
    layers = np.median(np.asarray(layer_s, dtype=float), axis=0)
    whole = float(np.median(whole_s))
    parts = np.asarray(parts_s, dtype=float)
    starts = parts.shape[1] - 1
    task = float(np.median(parts.sum(axis=1)) - whole) / starts if starts else 0.0
    task = min(max(task, 0.0), whole / 2)
    parts_inside = np.maximum(np.median(parts, axis=0) - task, CLOCK_S)
    shares = np.split(layers, bounds[1:-1])
    layers = np.concatenate([_within(*pair) for pair in zip(shares, parts_inside, strict=True)])
    return np.asarray(layers * ((whole - task) / layers.sum())), task


def _within(layers: npt.NDArray[np.float64], total: float) -> npt.NDArray[np.float64]:
    """Layers as they were run one by one -> as they are in a stage that takes `total` beyond its start.

    A layer on its own costs a call, which a stage of many does not: each loses the same share of what their
    sum is over the total, and what rounding at zero leaves is scaled away.
    """
    call = max(0.0, (layers.sum() - total) / len(layers))
    left = np.maximum(layers - call, 0.0)
    left = left if left.sum() > 0 else np.ones_like(left)
    return np.asarray(left * (total / left.sum()))


def fit_line(sizes: Sequence[float], seconds: Seconds) -> tuple[float, float]:
    """a, b >= 0 of seconds = a + b * size, by least squares of relative errors."""
    measured = np.maximum(np.asarray(seconds, dtype=float), CLOCK_S)
    constant, slope = 1 / measured, np.asarray(sizes, dtype=float) / measured
    # Minimise |a * constant + b * slope - 1|². Where the best line has a negative part, the best of those
    # without one lies on the border: a = 0 or b = 0.
    a, b = np.linalg.lstsq(np.stack([constant, slope], axis=1), np.ones_like(measured), rcond=None)[0]
    if min(a, b) < 0:
        flat, steep = constant.sum() / (constant @ constant), slope.sum() / (slope @ slope)
        is_flat = ((flat * constant - 1) ** 2).sum() < ((steep * slope - 1) ** 2).sum()
        a, b = (flat, 0.0) if is_flat else (0.0, steep)
    return float(a), float(b)


def _random_bounds(num_layers: int) -> list[int]:
    """Of the held-out stages."""
    parts = min(HELD_OUT_PARTS, num_layers)
    inner = np.random.default_rng(0).choice(np.arange(1, num_layers), parts - 1, replace=False)
    return [0, *sorted(int(bound) for bound in inner), num_layers]


def _codec_cuts(graph: Graph) -> list[Cut]:
    """The smallest, the median and the largest of the cuts inside the model, where all is float32."""
    cuts = [cut for cut in graph.cuts[1:-1] if all(tensor.dtype == "float32" for tensor in cut.tensors)]
    by_size = sorted({cut.num_bytes: cut for cut in cuts}.values(), key=lambda cut: cut.num_bytes)
    places = sorted({0, len(by_size) // 2, len(by_size) - 1}) if by_size else []
    return [by_size[place] for place in places]


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
