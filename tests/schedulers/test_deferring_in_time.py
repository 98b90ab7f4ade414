"""What waits is answered in time: random fleets, plans, intensities and requests, with tasks as predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import by_request
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Decision, Task, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Job
from schedulers import deferring
from schedulers.deferring import Deferring
from schedulers.fastest import Fastest
from schedulers.feasibility import earliest
from tests.conftest import MakeProblem, make_job
from tests.execution.conftest import WHOLE_S, At


@dataclass(frozen=True)
class Noted:
    """Deferring, with the requests that wait."""

    scheduler: Deferring
    waited: set[int]

    def decide(self, task: Task, state: FleetState) -> Decision:
        decision = self.scheduler.decide(task, state)
        if isinstance(decision, Wait):
            self.waited.add(task.request)
        return decision


def instance(make_problem: MakeProblem, random: np.random.Generator) -> Job:
    """One to three devices and stages; the first stage is on auto, the others are too or on a device."""
    count, stages, requests = (int(random.integers(low, high)) for low, high in ((1, 4), (1, 4), (5, 100)))
    speeds = random.choice([0.5, 1.0, 2.0], count)
    watts = random.uniform(5, 30, count)
    devices = tuple(
        Device(f"d{k}", 1e9, active_w=float(watts[k]), speed=float(speeds[k]), intensity_g_per_kwh=100)
        for k in range(count)
    )
    problem = make_problem(Fleet("f", devices, (Link("lan", 1e15, 0.0),)))
    cuts = sorted(random.choice(np.arange(1, 6), stages - 1, replace=False).tolist())
    later = [AUTO if random.random() < 0.6 else f"d{random.integers(count)}" for _ in cuts]
    horizon_s = requests * WHOLE_S / float(speeds.sum()) / float(random.uniform(0.05, 0.8))
    steps_s = np.arange(12) * horizon_s / 6
    intensity = Intensity(tuple(d.name for d in devices), steps_s, random.uniform(50, 600, (count, 12)))
    classes = tuple(
        RequestClass(f"c{k}", deadline_s=0.2 + float(random.uniform(0.2, 3)) * horizon_s)
        for k in range(int(random.integers(1, 3)))
    )
    arrivals = At(np.sort(random.uniform(0, horizon_s, requests)).tolist(), classes)
    return make_job(problem, Plan((0, *cuts, 6), (AUTO, *later)), arrivals, intensity=intensity)


def num_late(job: Job, scheduler: Any) -> int:
    """Requests of a simulated run that are answered after their deadline."""
    requests = by_request(Simulated().run(job, scheduler))
    assert not requests["failed"].any()
    return int((requests["latency_s"] > requests["deadline_s"] + 1e-6).sum())


def in_time(make_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Every request is in time unless one found no devices before its deadline, which is rare."""
    ahead: list[int] = []

    def noted(task: Task, state: FleetState) -> DeviceState | None:
        ahead.append(task.request)
        return earliest(task, state)

    monkeypatch.setattr(deferring, "earliest", noted)
    deferred = crowded = worse = 0
    for number in range(count):
        job = instance(make_problem, np.random.default_rng([7, number]))
        ahead.clear()
        waiting = Noted(Deferring(margin=0.1 if number % 2 else 0.0), set())
        missed = num_late(job, waiting)
        deferred += bool(waiting.waited)
        crowded += bool(ahead)
        assert ahead or not missed, f"instance {number}: {missed} late"
        worse += missed > 0 and num_late(job, Fastest()) == 0
    assert deferred > 0.8 * count
    assert crowded <= 0.1 * count
    assert worse <= 0.05 * count


def test_what_waits_is_in_time(make_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    in_time(make_problem, monkeypatch, 25)


@pytest.mark.full
def test_what_waits_is_in_time_on_many(make_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    in_time(make_problem, monkeypatch, 600)
