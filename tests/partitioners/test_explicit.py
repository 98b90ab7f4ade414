"""Plans that the config specifies, and settings that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from partitioners.explicit import Explicit
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from tests.conftest import MakeProblem


@pytest.mark.parametrize(
    ("stages", "cuts", "plan"),
    [
        (1, [0.5], Plan((0, 6), ("fast",))),
        (2, [0.5, 0.9], Plan((0, 3, 6), ("fast", "clean"))),
        (3, [0.8, 0.3], Plan((0, 2, 5, 6), ("fast", "clean", AUTO))),
        (2, [0.01], Plan((0, 1, 6), ("fast", "clean"))),
        (2, [0.99], Plan((0, 5, 6), ("fast", "clean"))),
        (3, [0.5, 0.51], Plan((0, 3, 6), ("fast", AUTO))),  # the empty middle stage and its device go
    ],
)
def test_explicit_cuts_at_fractions_of_the_chain(
    stages: int, cuts: list[float], plan: Plan, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    partitioner = Explicit(stages, cuts, ["fast", "clean", AUTO])
    assert partitioner.partition(make_problem(two_devices)) == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [], ["fast"]), r"partitioner.stages: must be a whole number >= 1 \(it is 0\)"),
        ((2, [], ["fast", "fast"]), "2 stages need 1 cuts"),
        ((2, [0.5], ["fast"]), "2 stages need 2 devices"),
        ((2, [1.5], ["fast", "fast"]), r"partitioner.cuts.0: .*between 0 and 1 \(cut: 1.5\)"),
        ((2, [0], ["fast", "fast"]), "between 0 and 1"),
    ],
)
def test_explicit_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Explicit(*arguments)


def test_explicit_refuses_what_the_problem_does_not_have(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    problem = make_problem(two_devices)
    with pytest.raises(ConfigError, match=r"partitioner.devices.1: unknown device 'pi9'"):
        Explicit(2, [0.5], ["fast", "pi9"]).partition(problem)
    with pytest.raises(ConfigError, match="tiny has 6 layers .stages: 7"):
        Explicit(7, [0.5] * 6, [AUTO] * 7).partition(problem)
