"""Random plans depend on the seed alone."""

from __future__ import annotations

import pytest

from partitioners.random import Random
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from tests.conftest import MakeProblem
from tests.partitioners.conftest import (
    FLEETS,
)


def test_random_is_its_seeds(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    drawn = [Random(seed).partition(problem) for seed in range(30)]
    assert len(set(drawn)) > 10
    assert {plan.num_stages for plan in drawn} == {1, 2}
    assert {plan.num_stages for plan in (Random(s, stages=4).partition(problem) for s in range(5))} == {4}
    with pytest.raises(ConfigError, match="tiny has 6 layers .stages: 7"):
        Random(stages=7).partition(problem)


def test_random_says_why_no_draw_was_possible(make_problem: MakeProblem) -> None:
    reason = r"fleet.devices.[ab].memory_bytes: the plan needs .* and it has 1 kB, .* short"
    with pytest.raises(ConfigError, match=rf"none of 1000 random plans is possible \(the last: {reason}\)$"):
        Random().partition(make_problem(FLEETS["fits none"]))
