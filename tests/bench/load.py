"""`make bench`: how long a scheduler's decision takes, and how many requests a second are simulated.

Each line holds the figure, its limit and their ratio: below 1 is within it. Decisions are medians in a fleet
of seeded devices, no two alike, a third of them busy (or all); before each a task begins and one ends
somewhere, so that what is kept up has to be. "From d0": the task's input lies on that device.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
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
from tests.conftest import configured

LIMITS_US = {
    "green": {3: 5, 1000: 30, 100_000: 500},
    "normalized": {3: 10, 1000: 30, 100_000: 500},
    "constrained": {3: 10, 1000: 30, 100_000: 500},
}
"""Of one decision, by scheduler and devices."""
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
    """Median µs of a decision alone, and with the updates that a task's begin and end cause."""
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


def requests_per_s(
    where: Problem, devices: Sequence[str], scheduler: Scheduler, duration_s: float
) -> tuple[float, int]:
    """Simulated requests a second of wall time at a load of .6, and how many there were."""
    layers = len(where.graph)
    plan = Plan((0, layers // 3, 2 * layers // 3, layers), tuple(devices))
    workload = Poisson(utilisation=0.6, duration_s=duration_s)
    intensity = Intensity.constant(where.intensity_g_per_kwh)
    job = Job((Service(where, plan),), workload, intensity, datetime(2030, 1, 1, tzinfo=UTC))
    begin = time.perf_counter()
    records = Simulated(max_requests=10**9).run(job, scheduler)
    count = int(records.table["request"].max()) + 1
    return count / (time.perf_counter() - begin), count


def peak_mb() -> float:
    """The most memory that this process has had; getrusage would tell its parent's, if that had more."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


def memory_mb(duration_s: float, devices: Sequence[str], answer: Any) -> None:
    """Puts into `answer` what a run that hands its records on takes at its peak beyond what it began with."""
    torch.set_num_threads(1)
    where = many(3)
    layers = len(where.graph)
    service = Service(where, Plan((0, layers // 3, 2 * layers // 3, layers), tuple(devices)))
    intensity = Intensity.constant(where.intensity_g_per_kwh)
    summary = Summary((service,))

    def add(records: Records) -> None:
        summary.add(records, account(records, where.fleet, intensity, Accounting()))

    scheduler = configured("scheduler", "constrained", slo_s=SLO_S)
    workload = Poisson(utilisation=0.6, duration_s=duration_s)
    job = Job((service,), workload, intensity, datetime(2030, 1, 1, tzinfo=UTC), sink=add)
    before_mb = peak_mb()
    add(Simulated(max_requests=10**9).run(job, scheduler))
    answer.put((peak_mb() - before_mb, int(summary.metrics()["requests_ok"])))


def apart(*arguments: Any) -> tuple[float, int]:
    """`memory_mb` in a process of its own: a peak is that of a process's whole life."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=memory_mb, args=(*arguments, answer))
    process.start()
    found: tuple[float, int] = answer.get()
    process.join()
    return found


def main() -> None:
    """Print every line."""
    torch.set_num_threads(1)
    print(f"{'decision':<50} {'alone':>9} {'limit':>9} {'':>6} {'with updates':>13}")
    for how, location, busy_share in (
        ("", None, 1 / 3),
        (", from d0", "d0", 1 / 3),
        (", all busy", None, 1.0),
    ):
        for name, limits in LIMITS_US.items():
            for count, limit in limits.items():
                alone, together = decision_us(configured("scheduler", name), count, location, busy_share)
                what = f"scheduler={name}, {count:,} devices{how}"
                print(
                    f"{what:<50} {alone:6.1f} µs {limit:6.0f} µs x{alone / limit:<5.2f} {together:10.1f} µs"
                )
    small, wide = many(3), many(1000)
    green, constrained = configured("scheduler", "green"), configured("scheduler", "constrained", slo_s=SLO_S)
    for what, least, where, devices, scheduler, duration_s in (
        ("plan fixed, 3 devices", 100_000, small, ("d0", "d1", "d2"), green, 20_000),
        ("constrained, 3 stages, 3 devices", 20_000, small, (AUTO,) * 3, constrained, 1000),
        ("green, 3 stages, 3 devices", 20_000, small, (AUTO,) * 3, green, 1000),
        ("constrained, 3 stages, 1,000 devices", 5_000, wide, (AUTO,) * 3, constrained, 1),
    ):
        rate, count = requests_per_s(where, devices, scheduler, duration_s)
        asked = f"at least {least:,} /s x{least / rate:.2f}"
        print(f"{'simulation: ' + what:<50} {rate:8,.0f} /s, {asked} ({count:,} requests)")
    for what, devices, duration_s in (
        ("plan fixed", ("d0", "d1", "d2"), 5000),
        ("constrained", (AUTO,) * 3, 1000),
    ):
        (some_mb, some), (more_mb, more) = apart(duration_s, devices), apart(4 * duration_s, devices)
        sizes = f"{some_mb:6.0f} MB for {some:,} requests, {more_mb:.0f} MB for {more:,}"
        ratio = f"x{more_mb / some_mb:.2f}, at most x1.2"
        print(f"{'memory, per_request=false: ' + what:<50} {sizes}: {ratio}")


if __name__ == "__main__":
    main()
