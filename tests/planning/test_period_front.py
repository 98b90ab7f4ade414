"""The exact front with the period as an objective: a device or a link serves the sum of all its uses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipeline.planning.cost import NOWHERE, Floats, Tables
from pipeline.planning.fastest_pipeline import fastest_pipeline
from pipeline.planning.label_setting import levels
from pipeline.planning.label_setting.by_period import searches_by_period
from pipeline.planning.label_setting.front import front_arrays
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import PlanRules
from tests.planning.test_exact_front import assert_same_outcomes, brute_force, random_tables

OBJECTIVES = [
    ("period_s",),
    ("latency_s", "period_s"),
    ("carbon_g", "period_s"),
    ("period_s", "transfer_bytes"),
    ("energy_j", "period_s"),
    ("carbon_g", "latency_s", "period_s"),
]


def instance(seed: int) -> tuple[Tables, tuple[str, ...], PlanRules]:
    """A small problem on links of very different speeds in their two directions, most of them fast."""
    random = np.random.default_rng(seed)
    devices = int(random.integers(2, 4))
    tables = random_tables(
        seed,
        int(random.integers(3, 7)),
        devices,
        source=int(random.integers(NOWHERE, devices)),
        idle=bool(random.integers(2)),
        tied=bool(random.integers(2)),
        room=[None, 0.6, 1.0][random.integers(3)],
        codec=bool(random.integers(2)),
        apart=[0.0, 0.0, 0.5][random.integers(3)],
        equal=bool(random.integers(2)),
    )
    if random.integers(3):
        tables = _faster_links(tables, 10 ** random.uniform(-2.5, 0), random)
    rules = PlanRules(
        bool(random.integers(2)), bool(random.integers(2)), [None, None, 2, 3][random.integers(4)]
    )
    return tables, OBJECTIVES[random.integers(len(OBJECTIVES))], rules


def _faster_links(tables: Tables, factor: float, random: np.random.Generator) -> Tables:
    def scaled(values: Floats) -> Floats:
        return np.asarray(values * factor * 10 ** random.uniform(-0.5, 0.5, values.shape))

    return replace(
        tables,
        link_latency_s=scaled(tables.link_latency_s),
        link_s_per_byte=scaled(tables.link_s_per_byte),
    )


def check(seeds: range) -> None:
    """Fronts are those of all plans; some hold devices that return, links that two hops share."""
    returns = shared = 0
    for seed in seeds:
        tables, objectives, rules = instance(seed)
        bounds, where, costs = front_arrays(tables, objectives, rules)
        assert_same_outcomes(costs, brute_force(tables, objectives, rules))
        if not rules.distinct and len(bounds):
            real = np.asarray(bounds[:, 1:] > bounds[:, :-1])
            used = [row[is_real].tolist() for row, is_real in zip(where, real, strict=True)]
            returns += any(len(set(row)) < len(row) for row in used)
            hops = [list(pairwise(row)) for row in used]
            shared += any(len(set(row)) < len(row) for row in hops)
    assert returns > len(seeds) / 20
    assert shared > len(seeds) / 100


def test_the_front_is_that_of_all_plans() -> None:
    check(range(60))


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 1200, 400))
def test_the_front_is_that_of_all_plans_many_times(first: int) -> None:
    check(range(first, first + 400))


def check_by_limits(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for tables of sets, the search by limits on the period finds the front of all plans."""
    monkeypatch.setattr(levels, "MOST_CELLS", 0)
    taken = 0
    for seed in seeds:
        tables, objectives, rules = instance(seed)
        rules = replace(rules, distinct=True)
        taken += searches_by_period(Prices(tables, objectives, rules))
        costs = front_arrays(tables, objectives, rules)[2]
        assert_same_outcomes(costs, brute_force(tables, objectives, rules))
    assert taken > len(seeds) / 2


def test_the_front_by_limits_is_that_of_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    check_by_limits(range(40), monkeypatch)


@pytest.mark.full
def test_the_front_by_limits_is_that_of_all_plans_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    check_by_limits(range(1200, 2400), monkeypatch)


def test_both_searches_find_one_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """On seven devices the search by limits agrees with the one that has tables of sets."""
    tables = _faster_links(random_tables(3, 12, 7), 0.1, np.random.default_rng(3))
    rules, objectives = PlanRules(distinct=True), ("latency_s", "period_s")
    expected = front_arrays(tables, objectives, rules)[2]
    monkeypatch.setattr(levels, "MOST_CELLS", 0)
    assert searches_by_period(Prices(tables, objectives, rules))
    assert_same_outcomes(front_arrays(tables, objectives, rules)[2], expected)
    assert len(expected) > 5


def check_pipeedge(seeds: range, layers: int) -> None:
    """No pipeline is faster than the fastest plan of the front, on a chain and three devices."""
    splits = 0
    for seed in seeds:
        random = np.random.default_rng(seed)
        tables = _faster_links(random_tables(seed, layers, 3), 1.0, random)
        bounds, where = fastest_pipeline(tables)
        least = tables.cost(np.array([bounds]), np.array([where])).period_s[0]
        objectives = [("period_s",), ("latency_s", "period_s")][seed % 2]
        costs = front_arrays(tables, objectives, PlanRules(distinct=True))[2]
        assert costs[:, -1].min() == pytest.approx(least, rel=1e-9)
        splits += len(bounds) > 2
    assert splits > len(seeds) / 2


def test_no_pipeline_is_faster() -> None:
    check_pipeedge(range(6), 60)


@pytest.mark.full
def test_no_pipeline_is_faster_on_a_hundred_fleets() -> None:
    check_pipeedge(range(100), 153)


def test_where_devices_may_return_no_plan_is_slower_than_the_best_pipeline() -> None:
    """Layers take 3, 1, 3, 1 s on one device and 1, 3, 1, 3 s on the other: back and forth is 2 s on each."""
    tables = random_tables(0, 4, 2)
    layer_s = np.array([[3.0, 1, 3, 1], [1.0, 3, 1, 3]])
    layers_s = np.concatenate([np.zeros((2, 1)), np.cumsum(layer_s, axis=1)], axis=1)
    tables = replace(tables, times=replace(tables.times, layers_s=layers_s, start_s=np.zeros(2)))
    bounds, where, costs = front_arrays(tables, ("period_s",), PlanRules())
    assert bounds.tolist() == [[0, 1, 2, 3, 4]]
    assert where.tolist() == [[1, 0, 1, 0]]
    assert costs[0, 0] == pytest.approx(2.0)
    # Two of the three hops share a link of 1.5 s each, so that the link is busy for 3 s. One device runs all
    # layers in 8 s; two stages, 3 + 1 and 1 + 3 s, take 4 s; three stages send once in each direction: 4 s.
    apart, latency_s = 1 - np.eye(2), 9 * (1 - np.eye(2))  # a link's latency does not occupy it
    slow = replace(
        tables, sent_bytes=np.ones(5), link_latency_s=latency_s, link_s_per_byte=1.5 * apart, source=NOWHERE
    )
    assert front_arrays(slow, ("period_s",), PlanRules())[2][0, 0] == pytest.approx(3.0)
    once = front_arrays(slow, ("period_s",), PlanRules(distinct=True))[2]
    assert once[0, 0] == pytest.approx(4.0)
