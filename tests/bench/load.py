"""`make bench`: how long a scheduler's decision takes, and how many requests a second are simulated.

Decisions are medians in a fleet of seeded devices, no two alike, a third of them busy (or all); before each a
task begins and one ends somewhere, so that what is kept up has to be. "From d0": the task's input lies on
that device. Each line holds the figure and its ratio to a yardstick that was taken in turn with it: a step of
plain Python for decisions, an event of a bare heap for simulated requests.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.profile import Profile
from pipeline.domain.records import Records
from pipeline.domain.tasks import Task
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job, Service
from pipeline.execution.scheduler import Scheduler
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.planning.problem import Problem
from pipeline.results.summary import Summary
from tests.bench.planning import problem
from tests.bench.yardsticks import Lines, best_of, event_s, step_s
from tests.conftest import configured

LIMITS = {
    "green": {3: 20, 1000: 125, 100_000: 2000},
    "normalized": {3: 40, 1000: 125, 100_000: 2000},
    "constrained": {3: 20, 1000: 125, 100_000: 2000},
}
"""Of one decision, in steps of plain Python, by scheduler and devices."""
ROUNDS = 3
DECISIONS = 2000
SLO_S = 0.2
"""Of simulated requests. Without one `constrained` sends all to the greenest device, whatever its queue."""


def fleet_of(count: int, seed: int = 0) -> Fleet:
    """Devices of 2 to 50 W, at 20 to 800 g/kWh, of half a CPU to four, on one LAN."""
    random = np.random.default_rng(seed)
    devices = [
        Device(
            f"d{index}",
            memory_bytes=float(random.choice([1e9, 2e9, 4e9])),
            active_w=float(random.uniform(2, 50)),
            cpu_quota=float(random.uniform(0.5, 4)),
            intensity_g_per_kwh=float(random.uniform(20, 800)),
        )
        for index in range(count)
    ]
    return Fleet("bench", tuple(devices), (Link("lan", 1e8, 0.001),))


def decision_us(
    scheduler: Scheduler, count: int, location: str | None = None, busy_share: float = 1 / 3
) -> tuple[float, float]:
    """Median µs of a decision alone, and with the updates that a task's begin and end cause.

    From wall time, as the clock of CPU time takes as long as some decisions.
    """
    fleet, random = fleet_of(count), np.random.default_rng(1)
    seconds = dict(zip(fleet.by_name, random.uniform(0.01, 0.2, count).tolist(), strict=True))
    work = [StageDeployment(0, 0, AUTO, 5e7, 0, seconds, 0.0)]
    state = FleetState(
        fleet, work, Intensity.constant({d.name: d.intensity_g_per_kwh or 0 for d in fleet.devices})
    )
    names = list(fleet.by_name)
    task = Task(0, 0, 0.1, 5e7, 1000, location, deadline_s=0.15)
    busy = [str(name) for name in random.choice(names, max(1, int(count * busy_share)), replace=False)]
    for name in busy:
        state.begin(task, name)
    scheduler.decide(task, state)
    alone, together = [], []
    for number in range(DECISIONS):
        begin = time.perf_counter()
        decision: Any = scheduler.decide(task, state)
        decided = time.perf_counter()
        state.begin(task, decision.device)
        busy.append(decision.device)
        state.end(task, busy.pop(number % len(busy)), 0.05)
        alone.append(decided - begin)
        together.append(time.perf_counter() - begin)
    return float(np.median(alone)) * 1e6, float(np.median(together)) * 1e6


def many(count: int) -> Problem:
    """A model of three layers on many devices, each of its own speed."""
    small = problem("mobilenet_v2", 3)
    fleet, random = fleet_of(count), np.random.default_rng(2)
    layers = len(small.graph)
    cpu_s = small.profile.table["cpu_s"].to_numpy()[:layers]
    speeds = dict(zip(fleet.by_name, random.uniform(0.2, 2, count).tolist(), strict=True))
    table = pd.DataFrame(
        {
            "device": np.repeat(list(fleet.by_name), layers),
            "layer": np.tile(np.arange(layers), count),
            "cpu_s": np.tile(cpu_s, count),
        }
    )
    profile = Profile(table, speeds, 0.02, dict.fromkeys(speeds, 0.0005), variation={"d0": [0.95, 1, 1.05]})
    return Problem(small.graph, fleet, profile, {d.name: d.intensity_g_per_kwh or 0 for d in fleet.devices})


def simulated(where: Problem, devices: Sequence[str], scheduler: Scheduler, duration_s: float) -> int:
    """Simulate at a load of .6; returns the number of requests."""
    layers = len(where.graph)
    plan = Plan((0, layers // 3, 2 * layers // 3, layers), tuple(devices))
    workload = Poisson(utilisation=0.6, duration_s=duration_s)
    intensity = Intensity.constant(where.intensity_g_per_kwh)
    job = Job((Service(where, plan),), workload, intensity, datetime(2030, 1, 1, tzinfo=UTC))
    records = Simulated(max_requests=10**9).run(job, scheduler)
    return int(records.table["request"].max()) + 1


def memory_mb(where: Problem, devices: Sequence[str], duration_s: float) -> tuple[float, int]:
    """The most that Python and NumPy hold in a run that hands its records on, and its number of requests.

    What the process holds would depend on what the allocator keeps, and on what ran before.
    """
    layers = len(where.graph)
    service = Service(where, Plan((0, layers // 3, 2 * layers // 3, layers), tuple(devices)))
    intensity = Intensity.constant(where.intensity_g_per_kwh)
    summary = Summary((service,))

    def add(records: Records) -> None:
        summary.add(records, account(records, where.fleet, intensity, Accounting()))

    scheduler = configured("scheduler", "constrained", slo_s=SLO_S)
    workload = Poisson(utilisation=0.6, duration_s=duration_s)
    job = Job((service,), workload, intensity, datetime(2030, 1, 1, tzinfo=UTC), sink=add)
    tracemalloc.start()
    add(Simulated(max_requests=10**9).run(job, scheduler))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6, int(summary.metrics()["requests_ok"])


def decisions(lines: Lines) -> None:
    """The lines of the decisions."""
    for how, location, busy_share in (
        ("", None, 1 / 3),
        (", from d0", "d0", 1 / 3),
        (", all busy", None, 1.0),
    ):
        for name, limits in LIMITS.items():
            for count, limit in limits.items():
                before_s = step_s()
                alone, together = decision_us(configured("scheduler", name), count, location, busy_share)
                unit_us = (before_s + step_s()) / 2 * 1e6
                what = f"decision, {name}, {count:,} devices{how}; {together:.1f} µs with updates"
                lines.add(what, f"{alone:.1f} µs", alone / unit_us, "steps", limit)


def main() -> None:
    """Print every line."""
    torch.set_num_threads(1)
    lines = Lines()
    decisions(lines)
    small, wide = many(3), many(1000)
    pinned, free = ("d0", "d1", "d2"), (AUTO,) * 3
    green, constrained = configured("scheduler", "green"), configured("scheduler", "constrained", slo_s=SLO_S)
    for what, limit, where, devices, scheduler, duration_s in (
        ("plan fixed, 3 devices", 6, small, pinned, green, 20_000),
        ("constrained, 3 stages, 3 devices", 95, small, free, constrained, 500),
        ("green, 3 stages, 3 devices", 95, small, free, green, 500),
        ("constrained, 3 stages, 1,000 devices", 300, wide, free, constrained, 1),
    ):
        run = partial(simulated, where, devices, scheduler, duration_s)
        seconds, ratio, count = best_of(ROUNDS, event_s, run)
        what = f"simulation, {what} ({count:,} requests)"
        lines.add(what, f"{count / seconds:,.0f} /s", ratio / count, "events a request", limit)
    for what, devices, duration_s in (("plan fixed", pinned, 5000), ("constrained", free, 1000)):
        (some_mb, some), (more_mb, more) = (memory_mb(small, devices, k * duration_s) for k in (1, 4))
        what = f"memory, per_request=false, {what}: {more:,} requests"
        lines.add(what, f"{more_mb:.0f} MB", more_mb / some_mb, f"that of {some:,}", 1.2)
    lines.end()


if __name__ == "__main__":
    main()
