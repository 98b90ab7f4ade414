"""Small networks, fleets and problems whose best plans can be worked out by hand or by brute force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import Plan
from pipeline.domain.profile import Profile
from pipeline.network.graph import Graph
from pipeline.planning.problem import Problem
from tests.conftest import CODECS
from tests.network.conftest import OtherNames


class Fork(nn.Module):
    """conv 0 -> left: pool 1, conv 2; right: pool 3, conv 4; add 5. Only what the pools give is small."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        left = self.left(avg_pool2d(y, 4))
        right = self.right(avg_pool2d(y, 2, 4))
        z: Tensor = left + right
        return z


class TwoRoots(nn.Module):
    """Two layers use the input, one of them late; a tensor in the middle has three users."""

    def forward(self, x: Tensor) -> Tensor:
        y = avg_pool2d(x, 4)
        z = y.sigmoid() + y.exp()
        w: Tensor = z * y + avg_pool2d(x, 2, 4)
        return w


class EarlyOutput(nn.Module):
    """One of its two answers is made long before the other."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = avg_pool2d(x, 2).sigmoid()
        return early, avg_pool2d(x, 4).exp() * 2


MODULES = (Fork, TwoRoots, OtherNames, EarlyOutput)


def graph_of(kind: Callable[[], nn.Module]) -> Graph:
    torch.manual_seed(3)
    module = kind().eval().requires_grad_(False)
    return Graph.of(module, torch.zeros(1, 3, 8, 8), kind.__name__.lower())


GRAPHS = {kind.__name__: graph_of(kind) for kind in MODULES}


def board(name: str, memory_bytes: float = 1e9) -> Device:
    return Device(name, memory_bytes, active_w=10, idle_w=1, speed=1.0, intensity_g_per_kwh=300)


def timed(graph: Graph, fleet: Fleet, layer_s: Mapping[str, Sequence[float]], **rest: Any) -> Problem:
    """Layers that take those seconds on each device and a start of .5 ms."""
    tables = [
        pd.DataFrame({"device": name, "layer": range(len(graph)), "cpu_s": times})
        for name, times in layer_s.items()
    ]
    profile = Profile(
        pd.concat(tables, ignore_index=True),
        dict.fromkeys(layer_s, 1.0),
        reference_cpu_s=0.02,
        task_cpu_s=dict.fromkeys(layer_s, 0.0005),
        codec_cpu_s=dict.fromkeys(layer_s, CODECS),
    )
    intensity = {device.name: device.intensity_g_per_kwh or 0.0 for device in fleet.devices}
    return Problem(graph, fleet, profile, intensity, **rest)


def phone_and_cloud(**rest: Any) -> Problem:
    """The fork, ten times faster on the cloud, behind a link of 64 kB/s: 12 ms for the input (768 bytes),
    16 ms for the stem's tensor (1024 bytes), 1 ms for what each pool or branch gives (64 bytes)."""
    layer_s = np.array([1, 0.1, 2, 0.1, 10, 0.1]) / 1000
    fleet = Fleet("pair", (board("phone"), board("cloud")), (Link("radio", 64e3),))
    return timed(GRAPHS["Fork"], fleet, {"phone": layer_s, "cloud": layer_s / 10}, **rest)  # type: ignore[dict-item]


def random_pair(graph: Graph, seed: int, compression: str = "float32") -> Problem:
    """Times and a link of all sizes, so that every kind of plan is the best of some problem."""
    rng = np.random.default_rng(seed)
    times: npt.NDArray[np.float64] = rng.exponential(0.005, (2, len(graph)))
    times[1] *= 10 ** rng.uniform(-1.5, 0.5)
    link = Link("link", bandwidth_bytes_per_s=10 ** rng.uniform(4, 7), latency_s=10 ** rng.uniform(-5, -2))
    fleet = Fleet("pair", (board("a"), board("b")), (link,))
    return timed(graph, fleet, {"a": times[0].tolist(), "b": times[1].tolist()}, compression=compression)


def arising_at(problem: Problem, device: str) -> Problem:
    return replace(problem, fleet=replace(problem.fleet, source=device))


def need_bytes(problem: Problem, plan: Plan, device: str) -> int:
    """What a plan needs of a device's memory, by the definition."""
    graph = problem.along(plan).graph
    stages = [plan.stage(k) for k, name in enumerate(plan.devices) if name == device]
    return sum(graph.stage_param_bytes(*s) for s in stages) + max(graph.stage_peak_bytes(*s) for s in stages)


LAN = (Link("lan", 1e8, 1e-4),)
FLEETS = {
    "roomy": Fleet("roomy", (board("a"), board("b"), board("c")), LAN),
    # tiny needs 14.4 kB on one device: 11.3 kB of parameters beside 3.1 kB of activations.
    "tight": Fleet("tight", (board("a", 11.9e3), board("b", 11.9e3)), LAN),
    "fits one": Fleet("fits one", (board("a", 5e3), board("b")), LAN),
    "fits none": Fleet("fits none", (board("a", 1e3), board("b", 1e3)), LAN),
    "apart": Fleet("apart", (board("a"), board("b"), board("c")), (Link("ab", 1e8, between=("a", "b")),)),
    "one": Fleet("one", (board("a"),)),
    "source": Fleet("source", (board("a"), board("b")), LAN, source="b", monolithic="a"),
}
