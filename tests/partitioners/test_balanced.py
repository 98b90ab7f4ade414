"""Shares by capability; boundaries by hand and by their rule."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioners.balanced import Balanced, boundaries, shares
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from tests.conftest import MakeProblem, configured
from tests.partitioners.conftest import (
    board,
)


def test_shares_follow_ampec_capability() -> None:
    fleet: Fleet = configured("fleet", "paper")
    # 0.6 * cpu / 1.0 + 0.4 * memory / 1 GB: 1.0, 0.36 + 0.2, 0.24 + 0.2
    assert shares(fleet, list(fleet.by_name)) == pytest.approx([1 / 2, 0.56 / 2, 0.44 / 2])


@pytest.mark.parametrize(
    ("costs", "parts", "bounds"),
    [
        ([1, 1, 1, 1], [0.5, 0.5], (0, 2, 4)),
        ([5, 1, 1, 1, 2], [0.5, 0.3, 0.2], (0, 1, 4, 5)),  # 5 of 10; then 8 of 10 at layer 4
        ([10, 0, 0], [0.34, 0.33, 0.33], (0, 1, 2, 3)),  # no stage is empty
        ([0, 0, 10], [0.4, 0.3, 0.3], (0, 1, 2, 3)),
        ([1, 2, 3], [1.0], (0, 3)),
    ],
)
def test_boundaries_close_where_the_share_is_reached(
    costs: list[int], parts: list[float], bounds: tuple[int, ...]
) -> None:
    assert boundaries(costs, parts) == bounds


@given(costs=st.lists(st.integers(0, 50), min_size=4, max_size=30), count=st.integers(1, 4))
def test_boundaries_are_those_of_the_rule(costs: list[int], count: int) -> None:
    bounds = boundaries(costs, [1 / count] * count)
    assert bounds[0] == 0
    assert bounds[-1] == len(costs)
    assert all(a < b for a, b in pairwise(bounds))
    for index, bound in enumerate(bounds[1:-1], start=1):
        early = bound > bounds[index - 1] + 1  # a stage of one layer may have been forced
        if early:
            assert sum(costs[: bound - 1]) < index / count * sum(costs) * (1 + 1e-12)


def test_balanced_by_eq_5(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    # Eq. 5: 3*3*3*4 = 108, 3*3*4*4 = 144, 256*10 = 2560: both devices equal, so half is reached in the head.
    assert [layer.eq5_cost for layer in problem.graph.layers] == [108, 0, 144, 0, 0, 2560]
    assert Balanced().partition(problem) == Plan((0, 5, 6), (AUTO, AUTO))
    assert Balanced(pin=True).partition(problem).devices == ("fast", "clean")
    with pytest.raises(ConfigError, match=r"partitioner.stages: .*between 1 and the fleet's 2 devices"):
        Balanced(stages=3).partition(problem)
    three = Fleet("three", tuple(board(f"d{i}") for i in range(7)), (Link("lan", 1e8),))
    with pytest.raises(ConfigError, match=r"partitioner.stages: tiny has 6 layers \(stages: 7\)"):
        Balanced(stages=7).partition(make_problem(three))
