"""Budgets by the hour and tenant, by hand."""

from __future__ import annotations

import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.tasks import Assign
from schedulers.budget import Budget
from tests.schedulers.conftest import TASK, timed_state


def test_budget_by_hand() -> None:
    # .1 s at 1,000 g/kWh is 1 mg on fast; .2 s at 100 g/kWh is .2 mg on clean.
    state = timed_state({"fast": 0.1, "clean": 0.2}, Intensity.constant({"fast": 1000, "clean": 100}))
    frugal = Budget(g_per_hour=2.5e-3)

    def decide(tenant: str = "default") -> str:
        task = TASK._replace(tenant=tenant)
        decision = frugal.decide(task, state)
        assert isinstance(decision, Assign)
        state.begin(task, decision.device)
        state.end(task, decision.device, 0.1)
        return decision.device

    # Two at 1 mg leave .5 mg: then .2 mg at a time, and beyond the budget as well, since nothing is dropped.
    assert [decide() for _ in range(7)] == ["fast", "fast", *["clean"] * 5]
    assert state.spent_g["default"] == pytest.approx(3e-3)
    assert decide("another") == "fast"
    state.advance(3600)
    assert decide() == "fast"


def test_a_tenant_may_have_a_budget_of_its_own() -> None:
    state = timed_state({"fast": 0.1, "clean": 0.2}, Intensity.constant({"fast": 1000, "clean": 100}))
    frugal = Budget(tenants={"poor": 0})
    assert frugal.decide(TASK, state) == Assign("fast")
    assert frugal.decide(TASK._replace(tenant="poor"), state) == Assign("clean")
