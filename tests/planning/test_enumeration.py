"""The plans of a small problem: all that obey the rules, each once, and the front of them."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import pytest

from pipeline.domain.fleet import Fleet
from pipeline.planning import enumeration
from pipeline.planning.cost import Floats, Ints
from pipeline.planning.enumeration import all_plans, has_few_plans
from pipeline.planning.exact_front import exact_front
from pipeline.planning.label_setting.front import front_arrays
from pipeline.planning.label_setting.plan_arrays import non_dominated
from pipeline.planning.label_setting.rules import PlanRules
from tests.conftest import MakeProblem
from tests.planning.test_exact_front import assert_same_outcomes, brute_force, random_tables
from tests.planning.test_period_front import instance


def test_all_plans_of_three_layers_on_two_devices() -> None:
    tables = random_tables(0, 3, 2)
    bounds, where = all_plans(tables, PlanRules(distinct=True))
    assert [(b, w) for b, w in zip(bounds.tolist(), where.tolist(), strict=True)] == [
        ([0, 3, 3], [0, 0]),
        ([0, 3, 3], [1, 0]),
        ([0, 1, 3], [0, 1]),
        ([0, 1, 3], [1, 0]),
        ([0, 2, 3], [0, 1]),
        ([0, 2, 3], [1, 0]),
    ]
    returning = all_plans(tables, PlanRules())
    assert [w for b, w in zip(*map(np.ndarray.tolist, returning), strict=True) if b == [0, 1, 2, 3]] == [
        [0, 1, 0],
        [1, 0, 1],
    ]
    assert len(returning[0]) == 8
    assert len(all_plans(tables, PlanRules(max_stages=1))[0]) == 2
    no_room = replace(tables, memory_bytes=np.array([0.0, np.inf]))
    assert all_plans(no_room, PlanRules())[1][:, 0].tolist() == [1]


@pytest.mark.parametrize(
    ("layers", "devices", "rules", "plans"),
    [
        (9, 3, PlanRules(distinct=True), 3 + 6 * 8 + 6 * comb(8, 2)),
        (4, 5, PlanRules(distinct=True), 5 + 20 * 3 + 60 * 3 + 120),
        (4, 3, PlanRules(), 3 + 6 * 3 + 12 * 3 + 24),
        (9, 4, PlanRules(max_stages=2), 4 + 12 * 8),
        (9, 1, PlanRules(), 1),
    ],
)
def test_few_are_plans_up_to_the_limit(
    layers: int, devices: int, rules: PlanRules, plans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = random_tables(1, layers, devices)
    assert len(all_plans(tables, rules)[0]) == plans
    monkeypatch.setattr(enumeration, "MOST_CELLS", plans * devices**2)
    assert has_few_plans(tables, rules)
    monkeypatch.setattr(enumeration, "MOST_CELLS", plans * devices**2 - 1)
    assert not has_few_plans(tables, rules)


def test_a_large_problem_has_not_few_plans() -> None:
    assert not has_few_plans(random_tables(0, 500, 30), PlanRules())


def test_their_front_is_that_of_brute_force() -> None:
    for seed in range(60):
        tables, objectives, rules = instance(seed)
        found = non_dominated(tables, objectives, *all_plans(tables, rules))[2]
        assert_same_outcomes(found, brute_force(tables, objectives, rules))


def test_label_setting_finds_the_same_front_of_153_layers() -> None:
    tables, rules = random_tables(2, 153, 3), PlanRules(distinct=True)
    assert has_few_plans(tables, rules)
    for objectives in (("latency_s", "period_s"), ("carbon_g", "latency_s")):
        found = non_dominated(tables, objectives, *all_plans(tables, rules))[2]
        assert_same_outcomes(found, front_arrays(tables, objectives, rules)[2])


def test_the_exact_front_prices_few_plans_and_searches_among_many(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, searched = make_problem(two_devices), []

    def noted(*arguments: Any) -> tuple[Ints, Ints, Floats]:
        searched.append(arguments)
        return front_arrays(*arguments)

    monkeypatch.setattr("pipeline.planning.exact_front.front_arrays", noted)
    few = exact_front(problem, distinct=True)
    assert not searched
    monkeypatch.setattr(enumeration, "MOST_CELLS", 0)
    assert few.plans == exact_front(problem, distinct=True).plans
    assert len(searched) == 1
