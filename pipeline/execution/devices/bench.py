"""Measure a model in the processes of devices, beside the reference model. Shell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from pipeline.domain.plan import COMPRESSIONS
from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.pool import DevicePool
from pipeline.execution.devices.reference_probe import Drift
from pipeline.execution.devices.stage_fit import CLOCK_S, fit_line, interval_over
from pipeline.network.compression import decoder, encoder
from pipeline.network.graph import Graph
from pipeline.network.layer import Cut

WHOLES = 3
"""Number of runs of the whole model in a pass; all other times are scaled to it."""
PARTS = 8
"""Number of stages into which the model is cut, to measure the start of a stage and parts of the model."""
HELD_OUT_PARTS = 4
"""Number of stages, cut at random, that are not part of the fit; they measure its prediction error."""
CODECS = tuple(f"{compression} {way}" for compression in COMPRESSIONS[1:] for way in ("encode", "decode"))


class Bench:
    """Times of the model: layer by layer, whole and in parts, and of the codecs.

    Wholes and parts run on the devices in turn, and the devices are new processes now and then (`deploy`), as
    processes differ by 2% in a model's time relative to the reference model's.
    All else runs on the first device. All times are in units of the reference model's at that moment. The
    lists grow by one entry a pass, `whole_s` by WHOLES.
    """

    def __init__(self, names: Sequence[str], graph: Graph, reference: Graph) -> None:
        self._reference = reference
        self.drift = Drift(1.0)
        """CPU seconds of the reference model."""
        self._names = names
        self._turns = itertools.cycle(names)
        self._graph = graph
        (model_input,) = graph.cuts[0].tensors
        self._input = torch.randn(model_input.shape, generator=torch.Generator().manual_seed(0))
        self.layer_s: list[list[float]] = []
        self.whole_s: list[float] = []
        self.parts_s: list[list[float]] = []
        self._held_out_s: list[list[float]] = []
        self._codec_s: list[list[list[float]]] = []
        self._by_process: dict[tuple[int, str], list[float]] = {}
        """The entries of `whole_s` by the process that ran them."""
        self._deployments = 0
        num_layers = len(graph)
        self._layouts = {0: [Layout.of(self._input)]}
        """Layouts of the tensors at each cut before which a stage has run."""
        self.part_bounds = sorted({round(part * num_layers / PARTS) for part in range(PARTS + 1)})
        self._held_out_bounds = _random_bounds(num_layers)
        self._cuts = _codec_cuts(graph)

    def deploy(self, pool: DevicePool) -> None:
        """Send all stages to the devices' new processes."""
        self._pool = pool
        self._deployments += 1
        for name in self._names:
            pool.set_reference(name, self._reference)
            pool.call(name, {"op": "put", "request": "profile"}, {"0": self._input})
        num_layers = len(self._graph)
        self._layers = self._deploy(range(num_layers + 1))
        self._whole = self._deploy([0, num_layers])
        self._parts = self._deploy(self.part_bounds)
        self._held_out = self._deploy(self._held_out_bounds)
        for cut in self._cuts:
            for codec in CODECS:
                compression, way = codec.split()
                module = (encoder if way == "encode" else decoder)(cut.tensors, compression)
                pool.deploy_module(self._names[0], f"{codec} {cut.index}", module)
        self.drift.add(pool.probe_reference(self._names[0]))

    def _deploy(self, bounds: Sequence[int]) -> list[str]:
        """Send the stages between these bounds to all devices, run each once, and return their names."""
        stages = [f"layers {begin}:{end}" for begin, end in pairwise(bounds)]
        for stage, (begin, end) in zip(stages, pairwise(bounds), strict=True):
            inputs = self._layouts[begin]
            for name in self._names:
                self._layouts[end] = self._pool.deploy(
                    name, stage, self._graph, begin, end, inputs=inputs, warmup=1
                )
        return stages

    def measure(self, *, keep: bool) -> None:
        """One pass over each kind of stage. keep: record the times."""
        layers = self._chain(self._layers, 0)
        wholes = [self._run(self._whole) for _ in range(WHOLES)]
        parts, _ = self._run(self._parts)
        held_out, _ = self._run(self._held_out)
        # Each decoder inverts the encoder before it, so one chain can run all codecs of a cut.
        codecs = [self._chain([f"{codec} {cut.index}" for codec in CODECS], cut.index) for cut in self._cuts]
        if not keep:
            return
        self.layer_s.append(layers)
        for (seconds,), name in wholes:
            self.whole_s.append(seconds)
            self._by_process.setdefault((self._deployments, name), []).append(seconds)
        self.parts_s.append(parts)
        self._codec_s.append(codecs)
        self._held_out_s.append(held_out)

    @property
    def passes(self) -> int:
        """Number of passes that count."""
        return len(self.parts_s)

    @property
    def interval(self) -> float:
        """Half the 95% interval of the time of the whole model over processes ÷ that time."""
        return interval_over(self._by_process.values())

    def codec_cpu_s(self) -> dict[str, list[float]]:
        """[a, b] by codec, which takes a + b * bytes CPU seconds (see Profile)."""
        if not self._cuts:
            return {}
        sizes = [cut.num_bytes for cut in self._cuts]
        medians = np.median(np.asarray(self._codec_s, dtype=float), axis=0)  # cuts x codecs
        return {codec: list(fit_line(sizes, medians[:, k])) for k, codec in enumerate(CODECS)}

    def variation(self) -> list[float]:
        """Times of the whole model, and of the sum of its parts in each pass, ÷ their medians."""
        seen = (np.asarray(self.whole_s), np.sum(self.parts_s, axis=1))
        return [float(ratio) for seconds in seen for ratio in seconds / np.median(seconds)]

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
        reply, _ = self._pool.call(self._names[0], header)
        return self._without_drift(self._names[0], reply["cpu_s"])

    def _run(self, stages: Sequence[str]) -> tuple[list[float], str]:
        """CPU seconds of stages that run one after the other, each called as in a run, on another device.

        With the last of these devices.
        """
        cpu_s: list[float] = []
        name = ""
        for stage in stages:
            sender, name = name, next(self._turns)
            if sender not in ("", name):
                value = self._pool.forward(sender, wire.encode({"op": "fetch", "request": "next"}))
                self._pool.forward(name, wire.readdress(value, {"op": "put", "request": "next"}))
            header = {
                "op": "run",
                "stage": stage,
                "request": "next",
                "takes": "next" if sender else "profile",
            }
            cpu_s.append(self._pool.call(name, header)[0]["cpu_s"])
        return self._without_drift(name, cpu_s), name

    def _without_drift(self, name: str, cpu_s: Sequence[float]) -> list[float]:
        """CPU seconds just measured on a device in units of the reference model's, from a probe there."""
        self.drift.add(self._pool.probe_reference(name))
        return [seconds / self.drift.now for seconds in cpu_s]


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
