"""Waiting for a cleaner hour: by hand, under each forecast, and in simulated runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Assign, Slot, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.fleet_state import FleetState
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
    clean = Wait(3600, (Slot(0, "d", 3600, 3610),))
    assert defer.decide(TASK._replace(deadline_s=4 * 3600.0), state) == clean
    # 10 s for itself, and a tenth more: it may begin until 11 s before the deadline.
    assert defer.decide(TASK._replace(deadline_s=3611.0), state) == clean
    assert defer.decide(TASK._replace(deadline_s=3610.9), state) == Assign("d")
    assert defer.decide(TASK, state) == Assign("d")  # no deadline
    for other in range(1, 11):
        decision = defer.decide(TASK._replace(request=other, deadline_s=3700.0), state)
        begin_s = 3590.0 + 10 * other
        assert decision == (
            # Behind nine others the reserve of a tenth does not suffice.
            Wait(begin_s, (Slot(0, "d", begin_s, begin_s + 10),)) if other < 10 else Assign("d")
        )
        if isinstance(decision, Wait):
            state.reservations.replace(other, decision.slots)
    state.advance(3600)
    first = TASK._replace(request=1, deadline_s=3700.0)
    assert defer.decide(first, state) == Assign("d")
    state.begin(first, "d")
    state.reservations.replace(1, ())
    state.advance(3612)  # the first is late: the second follows at once upon its end
    assert defer.decide(TASK._replace(request=2, deadline_s=3700.0), state) == Assign("d")


def test_a_wait_reserves_all_stages() -> None:
    """Two stages of 10 and 20 s; the second is on its planned device, and the first would keep it busy."""
    fleet = Fleet("f", tuple(Device(name, 1e9, 36, intensity_g_per_kwh=1) for name in "de"))
    work = [
        StageDeployment(0, 0, AUTO, 1e6, 0, {"d": 10.0}, 20.0),
        StageDeployment(0, 1, "e", 1e6, 0, {"e": 20.0}, 0.0),
    ]
    both = Intensity(("d", "e"), HOURS.since_s, np.repeat(HOURS.g_per_kwh, 2, axis=0))
    linked = replace(fleet, links=(Link("lan", 1e15, 0.0),))
    state = FleetState(linked, work, both)
    for request, begin_s in enumerate((3600.0, 3620.0, 3640.0)):
        decision = Deferring().decide(TASK._replace(request=request, deadline_s=5000.0), state)
        assert decision == Wait(
            begin_s, (Slot(0, "d", begin_s, begin_s + 10), Slot(1, "e", begin_s + 10, begin_s + 30))
        )
        state.reservations.replace(request, decision.slots)


def test_what_a_forecast_does_not_know_is_not_waited_for() -> None:
    task = TASK._replace(deadline_s=4 * 3600.0)
    assert Deferring(forecast="persistence").decide(task, timed_state({"d": 10.0}, HOURS)) == Assign("d")
    assert Deferring(forecast="none").decide(task, timed_state({"d": 10.0}, HOURS)) == Assign("d")
    noisy = Deferring(forecast="noisy", forecast_error=0).decide(task, timed_state({"d": 10.0}, HOURS))
    assert noisy == Wait(3600, (Slot(0, "d", 3600, 3610),))


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
