"""Measure a model in one device's process. Shell."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.domain.plan import COMPRESSIONS
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.pool import DevicePool
from pipeline.execution.devices.reference_probe import Drift
from pipeline.execution.devices.stage_fit import CLOCK_S, fit_line
from pipeline.network.compression import decoder, encoder
from pipeline.network.graph import Graph
from pipeline.network.layer import Cut

MAX_PROFILE_SLOWDOWN = 4.0
"""Largest slowdown while profiling: stretching leaves caches cold, as in a run; more has no effect."""
PARTS = 8
"""Number of stages into which the model is cut, to measure the start of a stage and parts of the model."""
HELD_OUT_PARTS = 4
"""Number of stages, cut at random, that are not part of the fit; they measure its prediction error."""
HELD_OUT_EVERY = 2
"""Number of passes per run of the held-out stages, so that these do not make profiling much longer."""
CODECS = tuple(f"{compression} {way}" for compression in COMPRESSIONS[1:] for way in ("encode", "decode"))


class Bench:
    """Times of the model on one device: layer by layer, whole and in parts, and of the codecs.

    Lists grow by one entry a pass; layer_s and parts_s hold one list a pass.
    """

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
        self._layouts = {0: [Layout.of(self._input)]}
        """Layouts of the tensors at each cut before which a stage has run."""
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
                pool.deploy_module(name, f"{codec} {cut.index}", module)

    def _deploy(self, bounds: Sequence[int]) -> list[str]:
        """Send the stages between these bounds to the device and run each once; returns the stages' names."""
        names = [f"layers {begin}:{end}" for begin, end in pairwise(bounds)]
        for stage, (begin, end) in zip(names, pairwise(bounds), strict=True):
            inputs = self._layouts[begin]
            self._layouts[end] = self._pool.deploy(
                self._name, stage, self._graph, begin, end, inputs=inputs, warmup=1
            )
        return names

    def turns(self, *, keep: bool) -> Iterator[None]:
        """One pass over each kind of stage; yields after each call of the device. keep: record the times."""
        layers = self._chain(self._layers, 0)
        yield
        whole = yield from self._run(self._whole)
        parts = yield from self._run(self._parts)
        held_out: list[float] = []
        if len(self.layer_s) % HELD_OUT_EVERY == 0:
            held_out = yield from self._run(self._held_out)
        # Each decoder inverts the encoder before it, so one chain can run all codecs of a cut.
        codecs = []
        for cut in self._cuts:
            codecs.append(self._chain([f"{codec} {cut.index}" for codec in CODECS], cut.index))
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
        """[a, b] by codec, which takes a + b * bytes CPU seconds (see Profile)."""
        if not self._cuts:
            return {}
        sizes = [cut.num_bytes for cut in self._cuts]
        medians = np.median(np.asarray(self._codec_s, dtype=float), axis=0)  # cuts x codecs
        return {codec: list(fit_line(sizes, medians[:, k])) for k, codec in enumerate(CODECS)}

    def variation(self) -> list[float]:
        """(2 * passes): times of the whole model and of the sum of its parts in each pass ÷ their medians."""
        passes = np.column_stack([self.whole_s, np.sum(self.parts_s, axis=1)])
        return [float(ratio) for ratio in (passes / np.median(passes, axis=0)).ravel()]

    def error(self, layers_cpu_s: npt.NDArray[np.float64], task_cpu_s: float) -> float:
        """95th percentile of |measured ÷ predicted - 1| over the held-out stages (medians over passes).

        layers_cpu_s: (layers,), CPU seconds of each layer; task_cpu_s: CPU seconds to start a stage.
        """
        measured = np.median(np.asarray(self._held_out_s, dtype=float), axis=0)
        predicted = np.add.reduceat(layers_cpu_s, self._held_out_bounds[:-1]) + task_cpu_s
        predicted = np.maximum(predicted, CLOCK_S)
        return float(np.percentile(np.abs(measured / predicted - 1), 95))

    def _chain(self, stages: Sequence[str], cut: int) -> list[float]:
        """CPU seconds of stages that run one after the other in one call, on noise like the cut's tensors."""
        header = {"op": "profile", "stages": stages, "inputs": self._layouts[cut], "seed": 0}
        reply, _ = self._pool.call(self._name, {**header, "slowdown": self._slowdown})
        return self._without_drift(reply["cpu_s"], reply["probe_cpu_s"])

    def _without_drift(self, cpu_s: Sequence[float], probe_cpu_s: float) -> list[float]:
        """CPU seconds just measured, divided by the drift that the following probe gives."""
        self._drift.add(probe_cpu_s)
        return [seconds / self._drift.now for seconds in cpu_s]

    def _run(self, stages: Sequence[str]) -> Generator[None, None, list[float]]:
        """CPU seconds of each stage, called as in a run; the rest of a call's time counts as dispatch."""
        self._pool.call(self._name, {"op": "put", "request": "profile"}, {"0": self._input})
        cpu_s = []
        for stage in stages:
            begin = time.perf_counter()
            header: dict[str, Any] = {"op": "run", "stage": stage, "request": "profile", "takes": "profile"}
            # Probe each time, whether or not the stage leaves time for it.
            header |= {"reference_s": self._drift.reference_cpu_s, "room": -math.inf}
            reply, _ = self._pool.call(self._name, {**header, "slowdown": self._slowdown})
            stage_s = reply["end"] - reply["start"] + reply["late_s"]
            self.dispatch_s.append(time.perf_counter() - begin - stage_s)
            cpu_s += self._without_drift([reply["cpu_s"]], reply["probe_cpu_s"])
            yield
        return cpu_s


def _random_bounds(num_layers: int) -> list[int]:
    """Bounds of the held-out stages."""
    parts = min(HELD_OUT_PARTS, num_layers)
    inner = np.random.default_rng(0).choice(np.arange(1, num_layers), parts - 1, replace=False)
    return [0, *sorted(int(bound) for bound in inner), num_layers]


def _codec_cuts(graph: Graph) -> list[Cut]:
    """The smallest, the median and the largest inner cut whose tensors are all float32."""
    cuts = [cut for cut in graph.cuts[1:-1] if all(tensor.dtype == "float32" for tensor in cut.tensors)]
    by_size = sorted({cut.num_bytes: cut for cut in cuts}.values(), key=lambda cut: cut.num_bytes)
    places = sorted({0, len(by_size) // 2, len(by_size) - 1}) if by_size else []
    return [by_size[place] for place in places]
