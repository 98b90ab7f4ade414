"""The oracle by hand, never above what a run emitted, and as a scheduler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Task
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.hindsight.lp_bound import bound_g
from pipeline.execution.hindsight.milp_schedule import MAX_TASKS, best_schedule
from pipeline.execution.hindsight.oracle import hindsight, num_late, regret
from pipeline.execution.hindsight.schedule_problem import Situation, Tasks, tasks_of
from pipeline.execution.job import Outage
from pipeline.execution.scheduler import scheduler_for
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Poisson
from schedulers.feasibility import green_g
from tests.conftest import MakeProblem, configured, make_job
from tests.execution.conftest import At
from tests.execution.hindsight.conftest import FLEET, WORK

HERE = Situation(WORK, FLEET, Intensity.constant({"fast": 500, "clean": 100}))


def tasks(*windows: tuple[float, float], ratios: Sequence[float] | None = None) -> Tasks:
    """One task a request: (release, due)."""
    release, due = (np.array(column, dtype=float) for column in zip(*windows, strict=True))
    count = len(windows)
    ratio = np.array(ratios or [1.0] * count, dtype=float)
    return Tasks(np.arange(count), np.zeros(count, dtype=np.int64), ratio, release, due, due - release)


def test_moving_a_tensor_has_no_pue(two_devices: Fleet) -> None:
    """1 MB at 1 µJ a byte, half at each end: .5 J at 600 and at 100 g/kWh; fast has a PUE of 1.5."""
    work = [*WORK, StageDeployment(0, 1, AUTO, 0, 10**6, {"fast": 1.0, "clean": 2.0}, 0.0)]
    where = Situation(work, two_devices, Intensity.constant({"fast": 600, "clean": 100}))
    assert where.moving_g(1, "fast", "clean") == pytest.approx(0.5 * (600 + 100) / 3.6e6)
    state = FleetState(two_devices, work, where.intensity)
    task, own_g = Task(0, 1, 0.1, 0, 10**6, "clean"), 20 * 1.0 * 600 * 1.5 / 3.6e6  # 20 W above idle
    fast = state.devices["fast"]
    assert state.carbon_g(task, fast) == pytest.approx(own_g + 0.5 * (600 + 100) / 3.6e6)
    assert green_g(task, fast, state) == pytest.approx(own_g + 0.5 * 600 / 3.6e6)  # the receiver's half


def exact_g(found: Tasks, max_late: int) -> float:
    return best_schedule(found, HERE, max_late)[0]


@pytest.mark.parametrize(
    ("windows", "late", "expected_mg"),
    [
        ([(0, 2)], 0, 2),  # the clean one is just in time
        ([(0, 1.9)], 0, 5),
        ([(0, 1.9)], 1, 2),  # it may be late
        ([(0, 2), (0, 2)], 0, 2 + 5),
        ([(0, 2), (1, 4)], 0, 2 + 2),  # one after the other
        ([(0, 2), (1, 3.9)], 0, 2 + 5),
        ([(0, math.inf), (0, 2)], 0, 2 + 2),  # who has no deadline comes later
        ([(0, 2), (0, 2), (0, 2)], 0, 2 + 5 + 5),
        ([(0, 2), (0, 2), (0, 2)], 1, 2 + 5 + 2),
    ],
)
def test_by_hand(windows: Any, late: int, expected_mg: float) -> None:
    assert exact_g(tasks(*windows), late) * 1e3 == pytest.approx(expected_mg)
    assert bound_g(tasks(*windows), HERE, late) * 1e3 <= expected_mg * (1 + 1e-9)


def test_what_no_schedule_can_do_is_infinite() -> None:
    assert exact_g(tasks((0, 0.9)), 0) == math.inf


def test_the_bound_waits_for_a_cleaner_hour_within_the_window_and_without_one_to_the_end() -> None:
    """500 g/kWh in the first hour, 100 in the second: a second of fast is 5 mg or 1 mg."""
    fleet = Fleet("one", FLEET.devices[:1])
    intensity = Intensity(("fast",), np.array([0.0, 3600.0]), np.array([[500.0, 100.0]]))
    where = Situation([replace(WORK[0], seconds={"fast": 1.0})], fleet, intensity)
    assert bound_g(tasks((0, 1800), (0, 7200)), where, 0) * 1e3 == pytest.approx(5 + 1)
    assert bound_g(tasks((0, math.inf), (0, 1800)), where, 0) * 1e3 == pytest.approx(1 + 5)
    ended = replace(where, intensity=intensity.before(1800))
    assert bound_g(tasks((0, math.inf), (0, 1800)), ended, 0) * 1e3 == pytest.approx(5 + 5)


def test_a_device_that_is_gone_does_nothing_meanwhile() -> None:
    gone = replace(HERE, outages=(Outage("clean", 0.0, 10.0),))
    assert bound_g(tasks((0, 4)), HERE, 0) * 1e3 == pytest.approx(2)
    assert bound_g(tasks((0, 4)), gone, 0) * 1e3 == pytest.approx(5)


BOARDS = Fleet(
    "boards",
    (
        Device("a", 1e9, active_w=30, speed=1.0, intensity_g_per_kwh=600),
        Device("b", 1e9, active_w=12, idle_w=2, speed=0.5, intensity_g_per_kwh=100, pue=1.2),
        Device("c", 1e9, active_w=20, speed=0.8, intensity_g_per_kwh=350),
    ),
    (Link("lan", 1e6, 0.001, energy_j_per_byte=1e-6), Link("own", 1e6, 0.0005, 2e-6, ("a", "b"))),
)
DECIDING = ("constrained", "fastest", "greenest", "green", "normalized", "random", "deferring")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(DECIDING),
    bounds=st.sampled_from([(0, 6), (0, 3, 6), (0, 2, 4, 6)]),
    load=st.sampled_from([0.2, 0.6, 1.1]),
    deadline_s=st.sampled_from([0.05, 0.1, 3.0]),
    source=st.sampled_from([None, "c"]),
    outage=st.booleans(),
    swings=st.booleans(),
)
def test_no_scheduler_emits_less_than_the_oracle(
    make_problem: MakeProblem, name: str, bounds: tuple[int, ...], load: float, deadline_s: float,
    source: str | None, outage: bool, swings: bool,
) -> None:  # fmt: skip
    problem = make_problem(replace(BOARDS, source=source))
    problem = replace(problem, profile=replace(problem.profile, variation={"a": [0.9, 1.0, 1.4]}))
    classes = (RequestClass("soon", deadline_s=deadline_s), RequestClass("some time"))
    workload = Poisson(utilisation=load, duration_s=4, classes=classes, seed=3)
    rest: dict[str, Any] = {}
    if swings:
        rest["intensity"] = Intensity(
            ("a", "b", "c"),
            np.array([0.0, 1.0, 2.5]),
            np.array([[600.0, 50, 900], [100, 400, 20], [350] * 3]),
        )
    if outage:
        rest["outages"] = (Outage("b", 0.7, 1.2),)
    plan = Plan(bounds, (AUTO,) * (len(bounds) - 1))
    job = make_job(problem, plan, workload, **rest)
    records = Simulated(seed=1).run(job, scheduler_for(job, configured("scheduler", name)))
    ledger = account(records, job.fleet, job.intensity, Accounting("marginal"))
    found = regret(job, records, ledger)
    assert found is not None
    assert found >= -1e-6


def test_a_run_of_few_requests_is_held_against_the_best_schedule(make_problem: MakeProblem) -> None:
    """The regret of a few requests is exact; who may be late as often as greenest is regrets nothing."""
    problem = make_problem(BOARDS)
    classes = (RequestClass(deadline_s=0.08),)
    workload = Poisson(rate_rps=60, duration_s=0.06, classes=classes, seed=5)
    found = {}
    for name in ("constrained", "fastest", "greenest"):
        job = make_job(problem, Plan((0, 6), (AUTO,)), workload)
        records = Simulated().run(job, scheduler_for(job, configured("scheduler", name)))
        ledger = account(records, job.fleet, job.intensity, Accounting("marginal"))
        assert 2 <= records.table["request"].nunique() <= MAX_TASKS
        best_schedule = hindsight(job, records)
        assert best_schedule.exact
        where = Situation(deploy(job.services), job.fleet, job.intensity)
        bound = bound_g(tasks_of(job, where.work, records), where, num_late(records))
        assert bound <= best_schedule.carbon_g * (1 + 1e-9)
        found[name] = regret(job, records, ledger)
    assert found["greenest"] == pytest.approx(0)
    assert found["fastest"] is not None
    assert found["constrained"] is not None
    assert 0 <= found["constrained"] < found["fastest"]


# --- as a scheduler -------------------------------------------------------------------------------


def run_of(name: str, problem: Any, workload: Any, plan: Plan, **rest: Any) -> tuple[float, int, float]:
    """Milligrams, late answers, and the regret to the oracle."""
    chosen = configured("scheduler", name, **({"margin": 0.0} if name in ("oracle", "constrained") else {}))
    job = make_job(problem, plan, workload, **rest)
    records = Simulated().run(job, scheduler_for(job, chosen))
    assert (records.table["status"] == "ok").all()
    ledger = account(records, job.fleet, job.intensity, Accounting("marginal"))
    found = regret(job, records, ledger)
    assert found is not None
    return float(ledger["carbon_g"].sum()) * 1e3, num_late(records), found


@pytest.mark.parametrize(("bounds", "count"), [((0, 6), 6), ((0, 3, 6), 4)])
@pytest.mark.parametrize("seed", range(4))
def test_of_a_few_requests_the_scheduler_makes_the_best_schedule(
    make_problem: MakeProblem, bounds: tuple[int, ...], count: int, seed: int
) -> None:
    problem = make_problem(
        replace(BOARDS, links=(replace(BOARDS.links[0], latency_s=0.0, energy_j_per_byte=0),))
    )
    times_s = np.random.default_rng(seed).uniform(0, 0.08, count)
    workload = At(sorted(times_s.tolist()), (RequestClass(deadline_s=0.09),))
    plan = Plan(bounds, (AUTO,) * (len(bounds) - 1))
    _, late, found = run_of("oracle", problem, workload, plan)
    others = [run_of(name, problem, workload, plan) for name in ("constrained", "fastest", "greenest")]
    assert late == min(other_late for _, other_late, _ in [*others, (0, late, 0)])
    assert found == pytest.approx(0, abs=1e-6)


def test_what_is_late_whatever_one_does_goes_where_it_emits_least(make_problem: MakeProblem) -> None:
    """No request can be answered in time: there is nothing to regret even so."""
    problem = make_problem(
        replace(BOARDS, links=(replace(BOARDS.links[0], latency_s=0.0, energy_j_per_byte=0),))
    )
    workload = At([0.0, 0.3, 0.6], (RequestClass(deadline_s=1e-4),))
    _, late, found = run_of("oracle", problem, workload, Plan((0, 6), (AUTO,)))
    assert late == 3
    assert found == pytest.approx(0, abs=1e-6)
    assert run_of("fastest", problem, workload, Plan((0, 6), (AUTO,)))[2] > 0.1


def test_of_many_requests_fewer_are_late_and_there_is_less_to_regret(make_problem: MakeProblem) -> None:
    problem = make_problem(BOARDS)
    workload = Poisson(utilisation=0.6, duration_s=20, classes=(RequestClass(deadline_s=0.1),), seed=2)
    plan = Plan((0, 6), (AUTO,))
    oracle = run_of("oracle", problem, workload, plan)
    constrained = run_of("constrained", problem, workload, plan)
    assert oracle[1] < constrained[1] / 2
    assert 0 <= oracle[2] < constrained[2]


def test_it_waits_for_the_cleaner_step_and_not_past_the_deadline(make_problem: MakeProblem) -> None:
    problem = make_problem(BOARDS)
    steps, names = np.arange(8, dtype=float), ("a", "b", "c")
    intensity = Intensity(names, steps, np.tile([600.0, 100.0], (3, 4)))
    workload = Poisson(rate_rps=5, duration_s=6.5, classes=(RequestClass(deadline_s=1.5),), seed=1)
    plan = Plan((0, 6), (AUTO,))
    grams, late, _ = run_of("oracle", problem, workload, plan, intensity=intensity)
    eager, _, _ = run_of("constrained", problem, workload, plan, intensity=intensity)
    assert late == 0
    assert grams < 0.8 * eager


def test_in_a_closed_loop_it_is_constrained(make_problem: MakeProblem) -> None:
    problem = make_problem(BOARDS)
    workload = Closed(20, concurrency=3, classes=(RequestClass(deadline_s=0.1),))
    job = make_job(problem, Plan((0, 6), (AUTO,)), workload)
    tables = [
        Simulated().run(job, scheduler_for(job, configured("scheduler", name))).table
        for name in ("oracle", "constrained")
    ]
    assert tables[0].equals(tables[1])


def test_a_slow_link_can_still_be_used(make_problem: MakeProblem) -> None:
    """Moving the input takes ten times as long as all tasks: who has no deadline goes where it is least."""
    slow = Link("lan", 2e3, 0.0, 0.0)
    problem = make_problem(replace(BOARDS, source="a", links=(slow,)))
    job = make_job(problem, Plan((0, 6), (AUTO,)), At([0.0]))
    records = Simulated().run(job, configured("scheduler", "greenest"))
    assert regret(job, records, account(records, job.fleet, job.intensity, Accounting())) == pytest.approx(0)


def test_energy_of_links_counts_only_where_all_of_it_is_known(make_problem: MakeProblem) -> None:
    unknown = Link("own", 1e6, 0.0, None, ("a", "b"))
    dear = Link("lan", 1e6, 0.0, 1.0)
    problem = make_problem(replace(BOARDS, source="a", links=(unknown, dear)))
    job = make_job(problem, Plan((0, 6), (AUTO,)), At([k / 5 for k in range(12)]))
    records = Simulated().run(job, configured("scheduler", "random"))
    assert {"a->b", "a->c"} <= set(records.table["device"])
    found = regret(job, records, account(records, job.fleet, job.intensity, Accounting()))
    assert found is not None
    assert found >= -1e-9


def test_windows_of_no_length_and_no_carbon_are_no_trouble(make_problem: MakeProblem) -> None:
    clean = tuple(replace(device, intensity_g_per_kwh=0.0) for device in BOARDS.devices)
    for devices in (BOARDS.devices, clean):
        problem = make_problem(replace(BOARDS, devices=devices))
        workload = Poisson(rate_rps=0.1, duration_s=1200, classes=(RequestClass(deadline_s=1e-5),))
        for name in ("oracle", "fastest"):
            job = make_job(problem, Plan((0, 3, 6), (AUTO, AUTO)), workload)
            records = Simulated().run(job, scheduler_for(job, configured("scheduler", name)))
            found = regret(job, records, account(records, job.fleet, job.intensity, Accounting("marginal")))
            assert found is None if devices is clean else found is not None and found >= -1e-6
