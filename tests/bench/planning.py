"""`make bench`: how long exact front, PipeEdge's optimum, a million costs, a ledger take, against limits.

Real graphs, with seconds of each layer that follow from its work; fleets of seeded devices, no two alike, on
one LAN. Each line holds CPU seconds and their ratio to a sort of a million numbers: the least of three each,
in turn, as other work on the host only ever adds.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.profile import Profile
from pipeline.domain.records import Records
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.cost import Tables
from pipeline.planning.exact_front import exact_front
from pipeline.planning.fastest_pipeline import fastest_pipeline
from pipeline.planning.problem import Problem
from tests.bench.yardsticks import Lines, best_of, sort_s

REPEATS = 3
FLOPS_PER_S, BYTES_PER_S = 1.2e11, 1e10
"""About those of one core of a server: VGG16-BN takes .33 s, MobileNetV2 15 ms."""


@cache
def worked(model: str) -> tuple[Graph, np.ndarray]:
    """A torchvision model's graph and each layer's seconds on a core that computes and moves at fixed rates.

    So the problem is the same on every host and in every minute, and its limits are.
    """
    spec = ModelSpec(name=model, library="torchvision")
    graph = Graph.of(spec.build(), torch.zeros(1, 3, 224, 224), model)
    layer_s = []
    with torch.inference_mode():
        values: tuple[torch.Tensor, ...] = (torch.zeros(1, 3, 224, 224),)
        for k in range(len(graph)):
            with FlopCounterMode(display=False) as counter:
                values = graph.stage(k, k + 1)(*values)
            moved = graph.stage_param_bytes(k, k + 1) + sum(value.nbytes for value in values)
            layer_s.append(counter.get_total_flops() / FLOPS_PER_S + moved / BYTES_PER_S)
    return graph, np.array(layer_s)


def problem(model: str, devices: int, *, idle: bool = False, seed: int = 0) -> Problem:
    """A model on devices from a fifth of to twice that core's speed, each layer ±10%, of 128 MB to 8 GB."""
    graph, cpu_s = worked(model)
    random = np.random.default_rng(seed)
    names = [f"d{index}" for index in range(devices)]
    fleet = Fleet(
        "bench",
        tuple(
            Device(
                name,
                memory_bytes=float(random.choice([128e6, 192e6, 256e6, 512e6, 1e9, 8e9])),
                active_w=(active_w := float(random.uniform(2, 50))),
                idle_w=active_w * 0.3 if idle else 0.0,
                speed=1.0,
                intensity_g_per_kwh=float(random.uniform(50, 900)),
            )
            for name in names
        ),
        (Link("lan", 1.25e8, 5e-4),),
    )
    speeds = dict(zip(names, random.uniform(0.2, 2, devices).tolist(), strict=True))
    layers = [cpu_s * random.uniform(0.9, 1.1, len(graph)) for _ in names]
    rows = [
        pd.DataFrame({"device": name, "layer": range(len(graph)), "cpu_s": seconds})
        for name, seconds in zip(names, layers, strict=True)
    ]
    profile = Profile(pd.concat(rows, ignore_index=True), speeds, 0.02, dict.fromkeys(names, 2e-4))
    return Problem(graph, fleet, profile, {d.name: float(d.intensity_g_per_kwh or 0) for d in fleet.devices})


def show(lines: Lines, what: str, limit: float, run: Callable[[], object]) -> None:
    """Add the line of `run`; limit: sorts of a million numbers."""
    seconds, ratio, found = best_of(REPEATS, sort_s, run)
    lines.add(f"{what}: {found}", f"{seconds:.3f} s", ratio, "sorts", limit)


def front(task: Problem, **options: object) -> Callable[[], str]:
    """The exact front, and what it holds."""

    def run() -> str:
        found = exact_front(task, **options)  # type: ignore[arg-type]
        return f"{len(found.plans)} plans, up to {max(plan.num_stages for plan in found.plans)} stages"

    return run


def period_front(task: Problem, other: str) -> Callable[[], str]:
    """The exact front of the period and another objective, each device at most once."""
    return front(task, objectives=(other, "period_s"), distinct=True)


def pipeline(tables: Tables) -> Callable[[], str]:
    """PipeEdge's optimum, and how many stages it has."""
    return lambda: f"{len(fastest_pipeline(tables)[1])} stages"


def million(tables: Tables) -> Callable[[], str]:
    """The costs of a million random plans of three stages."""
    random = np.random.default_rng(0)
    inner = np.sort(random.integers(1, tables.num_layers, (1_000_000, 2)), axis=1)
    ends = np.zeros((len(inner), 1), dtype=int), np.full((len(inner), 1), tables.num_layers)
    bounds = np.concatenate([ends[0], inner, ends[1]], axis=1)
    where = random.integers(0, len(tables.names), (len(inner), 3))
    return lambda: f"least latency {tables.cost(bounds, where).latency_s.min() * 1e3:.2f} ms"


def year(rule: str) -> Callable[[], str]:
    """The ledger of 1,000,000 records, three in ten of them transfers, against an hourly year."""
    random = np.random.default_rng(0)
    rows, zones = 1_000_000, ("de", "es", "nl", "pl")
    year_s = 365 * 86400.0
    devices = tuple(
        Device(zone, 4e9, 5.0, 1.6, intensity_g_per_kwh=400, embodied_kg=40, lifetime_years=4)
        for zone in zones
    )
    fleet = Fleet("zones", devices, (Link("wan", 1e8, energy_j_per_byte=1e-6),))
    intensity = Intensity(
        zones, np.arange(8760, dtype=float) * 3600, random.uniform(50, 900, (len(zones), 8760))
    )
    moved = random.random(rows) < 0.3
    ways = [f"{a}->{b}" for a in zones for b in zones if a != b]
    places = np.where(
        moved, len(zones) + random.integers(0, len(ways), rows), random.integers(0, len(zones), rows)
    )
    begin_s = np.sort(random.uniform(0, year_s - 10, rows))
    table = pd.DataFrame(
        {
            "request": np.arange(rows),
            "stage": 0,
            "kind": pd.Categorical.from_codes(moved.astype(int), pd.Index(["compute", "transfer"])),
            "device": pd.Categorical.from_codes(places, pd.Index([*zones, *ways])),
            "start_s": begin_s,
            "end_s": begin_s + random.uniform(0.1, 5, rows),
            "bytes": np.where(moved, 100_000, 0),
        }
    )
    records = Records(table, datetime(2030, 1, 1, tzinfo=UTC), year_s, zones, "simulated")
    return lambda: f"{account(records, fleet, intensity, Accounting(rule))['carbon_g'].sum():,.0f} g"


def main() -> None:
    """Print every line."""
    torch.set_num_threads(1)
    lines = Lines()
    for rule in ("full", "proportional"):
        show(lines, f"ledger of 1,000,000 records, hourly intensity of a year, idle={rule}", 60, year(rule))
    small, wide, deep = problem("mobilenet_v2", 3), problem("efficientnet_b0", 16), problem("resnet152", 16)
    chain = {devices: problem("vgg16_bn", devices) for devices in (8, 16)}
    tables = {devices: Tables.of(each) for devices, each in chain.items()}
    once = f"each device at most once, vgg16_bn ({len(chain[8].graph)} layers)"
    objectives = ("carbon_g", "latency_s", "transfer_bytes")
    for what, limit, run in (
        ("costs of 1,000,000 plans, mobilenet_v2 x 3", 120, million(Tables.of(small))),
        (f"front, mobilenet_v2 ({len(small.graph)} layers) x 3", 5, front(small, memory=False)),
        ("front of three objectives, mobilenet_v2 x 3", math.inf, front(small, objectives=objectives)),
        ("front with idle power, mobilenet_v2 x 3", math.inf, front(problem("mobilenet_v2", 3, idle=True))),
        (f"front, efficientnet_b0 ({len(wide.graph)} layers) x 16", 60, front(wide, memory=False)),
        (f"front within memory, resnet152 ({len(deep.graph)} layers) x 16", 190, front(deep)),
        (f"front, {once} x 8", 120, front(chain[8], distinct=True)),
        ("front of latency and period, each once, mobilenet_v2 x 3", 6, period_front(small, "latency_s")),
        ("front of carbon and period, the same", 6, period_front(small, "carbon_g")),
        ("front of latency and period, each once, vgg16_bn x 8", 130, period_front(chain[8], "latency_s")),
        ("front of carbon and period, the same", 180, period_front(chain[8], "carbon_g")),
        (f"least period, {once} x 8", 3, pipeline(tables[8])),
        (f"least period, {once} x 16", 500, pipeline(tables[16])),
    ):
        show(lines, what, limit, run)
    tracemalloc.start()
    fastest_pipeline(tables[16])
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    lines.add("  its memory", f"{peak_mb:.0f} MB", peak_mb, "MB", 500)
    lines.end()


if __name__ == "__main__":
    main()
