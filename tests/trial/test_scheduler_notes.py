"""A scheduler that decided nothing, and a carbon term that did not, are told in one line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.scheduler import Scheduler
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.planning.cost import predict
from pipeline.trial import scheduler_notes
from schedulers.fastest import Fastest
from schedulers.weighted import Weighted
from tests.conftest import MakeProblem, make_job

PERFORMANCE = Weighted(0.25, 0.25, 0.3, 0.15, 0.05)


@dataclass(frozen=True)
class Settings:
    """What of a trial is used."""

    scheduler: Scheduler
    fleet: Fleet
    accounting: Accounting = field(default_factory=Accounting)
    backend: Any = field(default_factory=Simulated)
    per_request: bool = True


def notes(
    make_problem: MakeProblem, fleet: Fleet, plan: Plan, scheduler: Scheduler, *asked: str
) -> list[str]:
    job = make_job(make_problem(fleet), plan, Closed(requests=5))
    trial = Settings(scheduler, fleet)
    records = trial.backend.run(job, scheduler)
    return scheduler_notes.scheduler_notes(
        cast("Any", trial), job, records, {"scheduler": "mine"}, list(asked)
    )


def test_carbon_that_decides_nothing_is_told_with_what_it_could_save(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    plan = Plan((0, 6), (AUTO,))
    cost = predict(make_problem(two_devices), [Plan((0, 6), (device,)) for device in ("fast", "clean")])
    fast_g, clean_g = cost.carbon_g * 1e6
    assert clean_g < fast_g
    [line] = notes(make_problem, two_devices, plan, PERFORMANCE)
    figures = f"{fast_g:,.1f}; {clean_g:,.2f} with scheduler.carbon_weight=1"
    assert line == (
        "scheduler=mine: its carbon term decides nothing here, as each task goes to the same device without "
        f"it. Carbon per inference (µg), simulated: {figures}"
    )
    heavy = PERFORMANCE.weighing_carbon(1.0)  # decides
    unasked = PERFORMANCE.weighing_carbon(0.0)  # was not to decide
    for scheduler in (heavy, unasked, Fastest()):
        assert notes(make_problem, two_devices, plan, scheduler) == []


def test_where_carbon_has_nothing_to_save_nothing_is_told(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    alike = replace(
        two_devices, devices=(two_devices.devices[0], replace(two_devices.devices[0], name="clean"))
    )
    assert notes(make_problem, alike, Plan((0, 6), (AUTO,)), PERFORMANCE) == []


def test_long_runs_are_not_simulated_again(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_notes, "MOST_TASKS", 4)
    assert notes(make_problem, two_devices, Plan((0, 6), (AUTO,)), PERFORMANCE) == []


def test_a_scheduler_that_was_asked_for_and_has_nothing_to_decide(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    plan = Plan((0, 6), ("fast",))
    for asked in ("scheduler=mine", "+scheduler.carbon_weight=1"):
        [line] = notes(make_problem, two_devices, plan, PERFORMANCE, asked)
        assert line.startswith("scheduler=mine has no effect: no stage of the plan is `auto`")
    assert notes(make_problem, two_devices, plan, PERFORMANCE, "fleet=paper") == []
