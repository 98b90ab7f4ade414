"""A partitioner of a user's own that answers no plan for the run is one line that names it."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.trial.run_action import _service
from tests.conftest import MakeProblem


class Own:
    """Answers what it is told to."""

    def __init__(self, plan: Plan | None) -> None:
        self.plan = plan

    def partition(self, _: object) -> Plan | None:
        return self.plan


class Asked:
    """What a trial is asked for here."""

    def __init__(self, problem: Any, plan: Plan | None) -> None:
        self.plan, self.partitioner, self.problem = None, Own(plan), lambda *_: problem


def planned(problem: Any, plan: Plan | None) -> Plan:
    """The plan that a run has from a partitioner which answers `plan`."""
    return _service(cast("Any", Asked(problem, plan)), *cast("Any", (None, None, (), ()))).plan


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (None, "partitioner: Own answered None for tiny: it must be a Plan"),
        (Plan((0, 5), ("fast",)), "partitioner: the plan of Own has 5 layers, but tiny has 6"),
        (Plan((0, 2, 7), ("fast", AUTO)), "partitioner: the plan of Own has 7 layers, but tiny has 6"),
        (
            Plan((0, 2, 6), ("fast", "gone")),
            "partitioner: the plan of Own: unknown device 'gone' (the fleet 'two' has fast, clean)",
        ),
        (
            Plan((0, 2, 6), ("fast", "clean"), compression="int8"),
            "partitioner: the plan of Own has compression int8, but this run has float32: choose "
            "compression=int8",
        ),
    ],
)
def test_a_partitioner_that_answers_no_plan_for_the_run_is_named(
    make_problem: MakeProblem, two_devices: Fleet, plan: Plan | None, complaint: str
) -> None:
    """No plan was an AttributeError somewhere else; of six layers five ran, and the run had their latency."""
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}$"):
        planned(make_problem(two_devices), plan)


@pytest.mark.parametrize(
    "plan", [Plan((0, 2, 6), ("fast", AUTO)), Plan((0, 6), ("fast",), compression="int8")]
)
def test_a_plan_for_the_run_is_taken(make_problem: MakeProblem, two_devices: Fleet, plan: Plan) -> None:
    """Of one stage nothing is compressed."""
    assert planned(make_problem(two_devices), plan) is plan
