"""Waiting for a cleaner hour: by hand, under each forecast, and in simulated runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Assign, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.results.summary import Summary
from schedulers.budget import Budget
from schedulers.constrained import Constrained
from schedulers.deferring import Deferring
from schedulers.fastest import Fastest
from tests.conftest import MakeProblem, make_job
from tests.schedulers.conftest import TASK, timed_state

HOURS = Intensity(("d",), np.array([0.0, 3600, 7200]), np.array([[500.0, 100, 300]]))


def test_deferring_by_hand() -> None:
    state = timed_state({"d": 10.0}, HOURS)
    defer = Deferring()
    assert defer.decide(TASK._replace(deadline_s=4 * 3600.0), state) == Wait(3600)
    # 10 s for itself and 10 s of the fleet, and a tenth more: it may begin until 22 s before the deadline.
    assert defer.decide(TASK._replace(deadline_s=3623.0), state) == Wait(3600)
    assert defer.decide(TASK._replace(deadline_s=3621.0), state) == Assign("d")
    assert defer.decide(TASK, state) == Assign("d")  # no deadline
    waiting = TASK._replace(deadline_s=3700.0)
    assert defer.decide(waiting, state) == Wait(3600)
    for _ in range(10):
        state.wait(waiting)
    assert defer.decide(waiting, state) == Assign("d")  # behind ten others it would be late
    for _ in range(10):
        state.wake(waiting)
    assert state.waiting_s == 0
    state.advance(3600)
    assert defer.decide(TASK._replace(deadline_s=4 * 3600.0), state) == Assign("d")


def test_what_a_forecast_does_not_know_is_not_waited_for() -> None:
    task = TASK._replace(deadline_s=4 * 3600.0)
    assert Deferring(forecast="persistence").decide(task, timed_state({"d": 10.0}, HOURS)) == Assign("d")
    assert Deferring(forecast="none").decide(task, timed_state({"d": 10.0}, HOURS)) == Assign("d")
    assert Deferring(forecast="noisy", forecast_error=0).decide(
        task, timed_state({"d": 10.0}, HOURS)
    ) == Wait(3600)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Budget(g_per_hour=-1), "g_per_hour"),
        (lambda: Budget(tenants={"a": -1}), "scheduler.tenants: a"),
        (lambda: Deferring(forecast="sure"), "scheduler.forecast"),
        (lambda: Deferring(forecast_error=-1), "forecast_error"),
        (lambda: Deferring(margin=-1), "margin"),
    ],
)
def test_bad_settings_are_refused_by_name(make: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make()


@pytest.mark.parametrize("forecast", ["perfect", "noisy", "persistence"])
def test_deferral_saves_carbon_and_misses_no_deadline(
    two_devices: Fleet, make_problem: MakeProblem, forecast: str
) -> None:
    """At .3 of capacity and with slack for three steps, so that many wait for the same one."""
    problem = make_problem(two_devices)
    steps = np.arange(20, dtype=np.float64) * 120
    g_per_kwh = np.random.default_rng(3).uniform(100, 600, (2, len(steps)))
    intensity = Intensity(tuple(two_devices.by_name), steps, g_per_kwh)
    workload = Poisson(utilisation=0.3, duration_s=900, classes=(RequestClass(deadline_s=360),), seed=4)

    def run(chosen: Any) -> tuple[float, float, int]:
        job = make_job(problem, Plan((0, 6), (AUTO,)), workload, intensity=intensity)
        records = Simulated().run(job, chosen)
        ledger = account(records, two_devices, intensity, Accounting("marginal"))
        figures = Summary.of(job.services, records, ledger).metrics()
        return figures["carbon_total_g"], figures["slo_miss_rate"], int(figures["requests_ok"])

    fast, at_once = run(Fastest()), run(Constrained(slo_s=1.0))
    deferred = run(Deferring(forecast=forecast))
    assert deferred[1] == fast[1] == 0
    assert deferred[2] == fast[2] == at_once[2]
    assert deferred[0] < fast[0]
    if forecast != "persistence":  # of which there is no day before
        assert deferred[0] < 0.9 * at_once[0]
