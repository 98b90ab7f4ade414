"""Small fleets, arrivals and schedulers, and simulated runs on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import Plan
from pipeline.domain.records import Records
from pipeline.domain.requests import RequestClass, Requests
from pipeline.domain.tasks import Assign, Decision, Task, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.fleet_state import FleetState
from pipeline.planning.problem import Problem
from schedulers.round_robin import RoundRobin
from tests.conftest import make_job


@dataclass(frozen=True)
class At:
    """Requests at given times, in turn of each class."""

    times_s: Sequence[float]
    classes: tuple[RequestClass, ...] = (RequestClass(),)
    concurrency: int | None = None
    block: int = 1000

    @property
    def count(self) -> int:
        return len(self.times_s)

    @property
    def horizon_s(self) -> float:
        return max(self.times_s)

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        kinds = np.arange(len(self.times_s)) % len(self.classes)
        for k in range(0, len(self.times_s), self.block):
            yield Requests(np.array(self.times_s[k : k + self.block], dtype=float), kinds[k : k + self.block])


LAN = Link("lan", bandwidth_bytes_per_s=1e6, latency_s=0.001)
WHOLE_S = 0.0215  # the tiny model on a device of speed 1: layers of 21 ms and a start of .5 ms


@dataclass(frozen=True)
class Fixed:
    """Every task to one device; waits while it is down."""

    device: str

    def decide(self, task: Task, state: FleetState) -> Decision:
        return Assign(self.device) if state.devices[self.device].up else Wait(math.inf)


@dataclass(frozen=True)
class LeastBusy:
    """The device that is free first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        up = [device for device in state.in_order if device.fits(task.stage)]
        return Assign(min(up, key=lambda d: d.backlog_s).name) if up else Wait(math.inf)


def fleet(*speeds: float, links: tuple[Link, ...] = (LAN,), source: str | None = None) -> Fleet:
    devices = [
        Device(f"d{k}", memory_bytes=1e9, active_w=10, speed=speed, intensity_g_per_kwh=100)
        for k, speed in enumerate(speeds)
    ]
    return Fleet("fleet", tuple(devices), links, source)


def varied(problem: Problem, ratios: Sequence[float]) -> Problem:
    return replace(problem, profile=replace(problem.profile, variation={"d0": list(ratios)}))


def poisson(rate: float, count: int, seed: int = 0) -> At:
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return At(np.cumsum(gaps).tolist(), block=65536)


def simulate(
    problem: Problem, plan: Plan, workload: Any, scheduler: Any = None, outages: Any = (), **options: Any
) -> Records:
    job = make_job(problem, plan, workload, outages=tuple(outages))
    return Simulated(**options).run(job, scheduler or RoundRobin())


ARRIVALS = st.lists(st.floats(0, 0.5), min_size=1, max_size=25).map(sorted)
ANEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
