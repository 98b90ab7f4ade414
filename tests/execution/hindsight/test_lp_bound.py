"""The least carbon in hindsight is never more than a run emitted, whatever the run: random runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import Records
from pipeline.domain.requests import RequestClass
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.hindsight import time_slots
from pipeline.execution.hindsight.lp_bound import bound_g
from pipeline.execution.hindsight.oracle import hindsight
from pipeline.execution.hindsight.schedule_problem import Situation, Tasks
from pipeline.execution.job import Job, Outage
from pipeline.execution.scheduler import scheduler_for
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Poisson
from tests.conftest import MakeProblem, configured, make_job
from tests.execution.conftest import At
from tests.execution.hindsight.conftest import FLEET, WORK

START = datetime(2030, 1, 1, 1, 30, tzinfo=UTC)
SCHEDULERS = (
    "greenest", "fastest", "random", "round_robin", "constrained", "deferring", "least_loaded", "oracle",
)  # fmt: skip


@dataclass(frozen=True)
class Steps:
    """A value for each zone and step, from an hour before the start on."""

    step: timedelta
    values: Mapping[str, Sequence[float]]

    def steps(self, zone: str, begin: datetime, end: datetime) -> list[tuple[datetime, float]]:
        values, first = self.values[zone], START - timedelta(hours=1)
        until = first + len(values) * self.step
        if end > until:
            raise NotCoveredError(f"zone: {zone} ends at {until}", until)
        places = range((begin - first) // self.step, min((end - first) // self.step + 1, len(values)))
        return [(first + k * self.step, values[k]) for k in places]

    def about(self) -> dict[str, str]:
        return {}

    def by_hand(self, fleet: Fleet) -> Intensity:
        """What holds, with the last value to the end of time: without `Intensity.of` and `until`."""
        names, count = tuple(fleet.by_name), min(len(v) for v in self.values.values())
        first = int(timedelta(hours=1) / self.step)
        since_s = np.array([k * self.step.total_seconds() for k in range(count - first)])
        rows = [self.values[str(device.zone)][first:count] for device in fleet.devices]
        return Intensity(names, since_s, np.array(rows))


def random_fleet(random: np.random.Generator) -> Fleet:
    """One to four devices, on which the tiny model takes from half a minute to ten."""
    devices = [
        Device(
            f"d{k}",
            memory_bytes=float(random.choice([1e9, 1e9, 1e9, 9000])),
            active_w=float(random.uniform(5, 40)),
            idle_w=float(random.uniform(0, 4)),
            pue=float(random.choice([1.0, 1.3])),
            speed=float(10 ** random.uniform(-4.4, -3.2)),
            zone=str(random.choice(["A", "B", "C"])),
        )
        for k in range(random.integers(1, 5))
    ]
    devices[0] = replace(devices[0], memory_bytes=1e9)
    energy = (None, 0.0, 2e-4, 0.05)[int(random.integers(4))]
    links: tuple[Link, ...] = (
        Link("lan", float(random.choice([1e6, 50.0])), float(random.choice([0.0, 1.0])), energy),
    )
    if len(devices) > 1 and random.random() < 0.3:
        links += (Link("own", 1e3, 0.5, energy, ("d0", "d1")),)
    return Fleet("random", tuple(devices), links, str(random.choice(["d0", ""])) or None)


def random_workload(random: np.random.Generator, requests: int) -> Any:
    """Closed, open, or open and overrunning, with requests of tight, loose and no deadlines."""
    deadlines = [None, 120.0, 900.0, 3600.0, 4 * 3600.0, 5e4]
    classes = tuple(
        RequestClass(f"class {k}", deadline_s=deadlines[int(random.integers(len(deadlines)))])
        for k in range(random.integers(1, 4))
    )
    seed = int(random.integers(1000))
    if random.random() < 0.4:
        return Closed(requests, int(random.integers(1, 5)), classes, seed)
    duration_s = float(random.choice([600.0, 3600.0, 4 * 3600.0]))
    return Poisson(duration_s=duration_s, rate_rps=requests / duration_s, classes=classes, seed=seed)


def random_run(make_problem: MakeProblem, seed: int, most: int) -> tuple[Job, Records, float]:
    """A job, its records, and the grams of its tasks by the grid's own values."""
    random = np.random.default_rng(seed)
    fleet = random_fleet(random)
    step = timedelta(minutes=int(random.choice([15, 30, 60])))
    count = int(random.choice([4000, 4000, 4000, 16]))
    low = float(random.choice([0.0, 20.0, 200.0]))
    grid = Steps(step, {zone: random.uniform(low, 900, count).tolist() for zone in "ABC"})
    if random.random() < 0.2:
        grid = replace(grid, values={zone: [v[0]] * count for zone, v in grid.values.items()})
    problem = make_problem(fleet)
    variation = ([1.0], [1.0, 1.1], [0.7, 1.0, 1.6])[int(random.integers(3))]
    problem = replace(problem, profile=replace(problem.profile, variation={"d0": variation}))
    workload = random_workload(random, int(random.integers(1, most)))
    bounds = [(0, 6), (0, 3, 6), (0, 2, 4, 6)][int(random.integers(3))]
    placed = [AUTO if random.random() < 0.8 else "d0" for _ in bounds[1:]]
    outages = tuple(
        Outage(f"d{random.integers(len(fleet.devices))}", random.uniform(0, 5000), random.uniform(1, 9000))
        for _ in range(int(random.choice([0, 0, 1, 3])))
    )
    intensity = Intensity.of(fleet, grid, START, min(workload.horizon_s, 3 * 3600.0))
    job = make_job(problem, Plan(bounds, tuple(placed)), workload, intensity=intensity, outages=outages)
    scheduler = configured("scheduler", SCHEDULERS[int(random.integers(len(SCHEDULERS)))])
    records = Simulated(seed=seed).run(job, scheduler_for(job, scheduler))
    ledger = account(records, fleet, grid.by_hand(fleet), Accounting("marginal"))
    return job, records, float(ledger["carbon_g"].sum())


def excess(make_problem: MakeProblem, seed: int, most: int) -> float:
    """The least carbon ÷ the run's carbon; 0 for a run without any."""
    job, records, spent_g = random_run(make_problem, seed, most)
    least_g = hindsight(job, records).carbon_g
    return least_g / spent_g if spent_g else math.inf if least_g else 0.0


@pytest.fixture(autouse=True)
def _longer_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few columns: the program is solved sooner, and its bound must hold however long the slots are."""
    monkeypatch.setattr(time_slots, "MAX_COLUMNS", 5000)


@pytest.mark.parametrize("most", [12, 80])
def test_no_run_emits_less_than_the_least(make_problem: MakeProblem, most: int) -> None:
    assert not [seed for seed in range(25) if excess(make_problem, seed, most) > 1 + 1e-9]


@pytest.mark.full
@pytest.mark.parametrize("most", [12, 80])
def test_no_run_of_many_emits_less_than_the_least(make_problem: MakeProblem, most: int) -> None:
    assert not [seed for seed in range(100, 650) if excess(make_problem, seed, most) > 1 + 1e-9]


def test_whoever_is_late_may_wait_for_the_cleanest_hour_of_the_run(make_problem: MakeProblem) -> None:
    """Ten tasks of 2,150 s: 900 g/kWh for five hours, then 100. Only the last four run in the cleaner hours.

    All are late but the first, which starts 43 s before its deadline would be missed; so may nine others be.
    """
    fleet = Fleet("one", (Device("d0", 1e9, active_w=36, speed=1e-5, zone="A"),))
    grid = Steps(timedelta(hours=1), {"A": [900.0] * 6 + [100.0] * 9})
    classes = (RequestClass(deadline_s=2160.0),)
    problem = make_problem(fleet)
    job = make_job(
        problem, Plan((0, 6), (AUTO,)), At([0.0] * 10, classes), intensity=Intensity.of(fleet, grid, START)
    )
    records = Simulated().run(job, scheduler_for(job, configured("scheduler", "greenest")))
    assert records.window_s == pytest.approx(21_500)
    unit_g = 2150 * 36 / 3.6e6
    assert hindsight(job, records).carbon_g == pytest.approx(unit_g * (900 + 9 * 100), rel=1e-3)


def test_no_schedule_drawn_at_random_is_better() -> None:
    """Schedules with at most as many late answers, the late ones at any time until all else has ended."""
    random = np.random.default_rng(5)
    for _ in range(60):
        count, names = int(random.integers(1, 9)), ("fast", "clean")
        release_s = random.uniform(0, 10_000, count)
        due_s = release_s + random.choice([500, 3000, 9000, math.inf], count)
        ratio = random.uniform(0.5, 2, count)
        found = Tasks(
            np.arange(count), np.zeros(count, dtype=np.int64), ratio, release_s, due_s, due_s - release_s
        )
        steps = np.sort(np.append(random.uniform(0, 30_000, 9), 0.0))
        intensity = Intensity(names, steps, random.uniform(0, 900, (2, 10)))
        where = Situation([replace(WORK[0], seconds={"fast": 200.0, "clean": 400.0})], FLEET, intensity)
        free_s, grams, late, end_s = [0.0, 0.0], 0.0, 0, 0.0
        for task in random.permutation(count):
            device = int(random.integers(2))
            begin_s = max(free_s[device], release_s[task]) + random.choice([0.0, random.uniform(0, 9000)])
            free_s[device] = begin_s + (200, 400)[device] * ratio[task]
            grams += float(intensity.mean(device, begin_s, free_s[device])) * (free_s[device] - begin_s)
            late += free_s[device] > due_s[task]
            end_s = max(end_s, free_s[device])
        ended = replace(where, intensity=intensity.before(end_s))
        assert bound_g(found, ended, late) <= grams * 36 / 3.6e6 * (1 + 1e-9)
