"""A scheduler of a user's own that answers what a run cannot obey is one line that says what."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.tasks import Assign, Refuse, Wait
from tests.conftest import MakeProblem
from tests.execution.conftest import At, fleet, simulate

PLAN = Plan((0, 6), (AUTO,))


class Stubborn:
    """Answers the same to every task."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def decide(self, *_: object) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Assign("d9"), "the fleet has no such device .it has d0, d1."),
        (Assign(["d0"]), "the fleet has no such device"),  # type: ignore[arg-type]
        (None, "it must be an Assign, a Wait or a Refuse"),
        ("d0", "it must be an Assign, a Wait or a Refuse"),
        (Wait(-1.0), "it must wait for a time after now, 0.25 s"),
        (Wait(0.25), "it must wait for a time after now"),
        (Wait(math.nan), "it must wait for a time after now"),
        (Wait(None), "it must wait for a time after now"),  # type: ignore[arg-type]
        (Refuse(None), "its reason must be a text"),  # type: ignore[arg-type]
    ],
)
def test_what_no_run_can_obey_is_told(answer: Any, fault: str, make_problem: MakeProblem) -> None:
    """`Wait(-1)` never ended; the others were a KeyError or an AssertionError without a word."""
    with pytest.raises(ConfigError, match=f"^scheduler: Stubborn answered .* to request 0, stage 0: {fault}"):
        simulate(make_problem(fleet(1, 1)), PLAN, At([0.25]), Stubborn(answer))


def test_a_device_without_the_memory_or_a_way_to_it_is_told(make_problem: MakeProblem) -> None:
    nodes = fleet(1, 1, links=(), source="d0")
    with pytest.raises(ConfigError, match="stage 0: no link leads there from d0, which has its input"):
        simulate(make_problem(nodes), PLAN, At([0.0]), Stubborn(Assign("d1")))
    one, two = fleet(1, 1).devices
    small = replace(fleet(1, 1), devices=(one, replace(two, memory_bytes=1.0)), links=(Link("lan", 1e6),))
    with pytest.raises(ConfigError, match=r"stage 0: the device has 0.001 kB of memory, and the stage needs"):
        simulate(make_problem(small), PLAN, At([0.0]), Stubborn(Assign("d1")))


def test_what_a_plug_in_raises_itself_is_its_own(make_problem: MakeProblem) -> None:
    class Broken:
        def decide(self, *_: object) -> Any:
            raise KeyError("of the plug-in")

    with pytest.raises(KeyError, match="of the plug-in"):
        simulate(make_problem(fleet(1, 1)), PLAN, At([0.0]), Broken())
