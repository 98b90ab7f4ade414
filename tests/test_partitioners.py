"""Plans worked out by hand, and the contract that every partitioner in conf/ keeps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from conftest import MakeProblem, choices, configured
from hypothesis import given
from hypothesis import strategies as st

from partitioners.balanced import Balanced, boundaries, shares
from partitioners.explicit import Explicit
from partitioners.monolithic import Monolithic
from pipeline.domain import AUTO, ConfigError, Fleet, Plan


def test_monolithic_is_one_stage_on_the_named_device(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    assert Monolithic("clean").partition(problem) == Plan((0, 6), ("clean",))
    assert Monolithic().partition(problem) == Plan((0, 6), (AUTO,))
    with pytest.raises(ConfigError, match="partitioner.device: unknown device 'none'.*fast, clean"):
        Monolithic("none").partition(problem)


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
        ((0, [], ["fast"]), r"partitioner.stages: must be at least 1 \(stages: 0\)"),
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


@pytest.mark.parametrize("name", choices("partitioner"))
def test_contract(name: str, make_problem: MakeProblem, two_devices: Fleet) -> None:
    """A plan covers the chain on devices that exist, is the same each time, and changes nothing."""
    problem = make_problem(two_devices)
    before = problem.profile.table.copy()
    partitioner = configured("partitioner", name)
    plan = partitioner.partition(problem)
    assert plan.bounds[-1] == len(problem.graph.layers)
    assert set(plan.devices) <= {*two_devices.by_name, AUTO}
    assert plan == partitioner.partition(problem)
    assert problem.profile.table.equals(before)
