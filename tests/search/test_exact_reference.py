"""Regret against all plans of the tiny problem; the exact plans as points, back through the partitioner."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partitioners.explicit import Explicit
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.cost import predict
from pipeline.planning.pareto import hypervolume, non_dominated
from pipeline.planning.problem import Problem
from pipeline.search.exact_reference import ExactReference
from pipeline.search.search_space import SearchSpace
from tests.conftest import MakeProblem

TWO = {"carbon_g_per_inf": "minimize", "latency_ms_p50": "minimize"}
SPACE = {
    "partitioner.stages": "range(1,4)",
    **{f"partitioner.cuts.{i}": "interval(0.05,0.95)" for i in range(2)},
    **{f"partitioner.devices.{i}": "choice(auto,fast,clean)" for i in range(3)},
    "scheduler.carbon_weight": "interval(0,1)",
}
EXPLICIT = Explicit(1)


@pytest.fixture
def problem(make_problem: MakeProblem, two_devices: Fleet) -> Problem:
    return make_problem(two_devices)


def all_plans(problem: Problem) -> list[Plan]:
    """Every placement of the six layers, whatever its stages."""
    plans = []
    for where in itertools.product(problem.fleet.by_name, repeat=len(problem.graph.layers)):
        cuts = [k for k in range(1, len(where)) if where[k] != where[k - 1]]
        bounds = (0, *cuts, len(where))
        plans.append(Plan(bounds, tuple(where[b] for b in bounds[:-1])))
    return plans


def costs(problem: Problem, plans: Sequence[Plan]) -> np.ndarray:
    return predict(problem, plans).columns(["carbon_g", "latency_s"])


def test_regret_is_one_less_the_share_of_the_exact_hypervolume(problem: Problem) -> None:
    plans = all_plans(problem)
    values = costs(problem, plans)
    front = values[non_dominated(values)]
    unsplit = costs(problem, [Plan((0, 6), (name,)) for name in ("fast", "clean")])
    reference = np.concatenate([front, unsplit]).max(axis=0) * 1.1
    exact = ExactReference.of(problem, TWO)
    assert exact.reference == pytest.approx(reference)
    assert exact.measured_reference == pytest.approx(reference / 1.1 * 1.5 * [1, 1e3])
    expected = 1 - hypervolume(unsplit, reference) / hypervolume(front, reference)
    assert 0 < expected < 1
    assert exact.regret([Plan((0, 6), (name,)) for name in ("fast", "clean")]) == pytest.approx(expected)
    assert exact.regret(plans) == pytest.approx(0, abs=1e-12)
    assert exact.regret(exact.front.plans) == pytest.approx(0, abs=1e-12)
    assert exact.regret([]) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_regret_lies_in_0_to_1_and_never_rises(problem: Problem, data: st.DataObject) -> None:
    plans = data.draw(st.lists(st.sampled_from(all_plans(problem)), max_size=12))
    exact = ExactReference.of(problem, TWO)
    regrets = [exact.regret(plans[:count]) for count in range(len(plans) + 1)]
    assert all(0 <= regret <= 1 for regret in regrets)
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(regrets))


def test_plans_outside_the_exact_search_count_nothing(problem: Problem) -> None:
    exact = ExactReference.of(problem, TWO)
    best = exact.front.plans[0]
    assert exact.regret([best]) < 1
    outside = [
        replace(best, order=tuple(range(6))),
        replace(best, compression="int8"),
        replace(best, devices=(AUTO,) * best.num_stages),
    ]
    assert [exact.regret([plan]) for plan in outside] == [1, 1, 1]
    little = replace(problem.fleet.devices[0], memory_bytes=1500.0)
    tight = replace(problem, fleet=Fleet("two", (little, problem.fleet.devices[1]), problem.fleet.links))
    assert ExactReference.of(tight, TWO).regret([Plan((0, 6), ("fast",))]) == 1
    assert ExactReference.of(tight, TWO).regret([Plan((0, 6), ("clean",))]) < 1


def test_two_figures_of_latency_are_one_to_the_cost_model(problem: Problem) -> None:
    three = ExactReference.of(problem, TWO | {"latency_ms_p95": "minimize"})
    two = ExactReference.of(problem, TWO)
    assert three.front.plans == two.front.plans
    assert three.measured_reference == pytest.approx(two.measured_reference[[0, 1, 1]])


@pytest.mark.parametrize(
    "objectives",
    [{"throughput_rps": "maximize"}, {"carbon_g_per_inf": "maximize"}, {"requests_ok": "minimize"}],
)
def test_an_objective_that_the_cost_model_does_not_know_has_no_reference(
    problem: Problem, objectives: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match="the cost model cannot"):
        ExactReference.of(problem, TWO | objectives)


def test_points_are_the_front_s_plans_through_the_explicit_partitioner(problem: Problem) -> None:
    exact = ExactReference.of(problem, TWO)
    points = exact.points(SearchSpace.parse(SPACE), EXPLICIT)
    short = [i for i, plan in enumerate(exact.front.plans) if plan.num_stages <= 3]
    assert list(points) == short
    assert len(short) > 2
    for index, point in points.items():
        cuts = [float(point.get(f"partitioner.cuts.{i}", 0.5)) for i in range(2)]
        devices = [str(point.get(f"partitioner.devices.{i}", AUTO)) for i in range(3)]
        plan = Explicit(int(point["partitioner.stages"]), cuts, devices).partition(problem)
        assert plan == exact.front.plans[index]


def test_points_keep_to_the_space(problem: Problem) -> None:
    exact = ExactReference.of(problem, TWO)
    points = exact.points(
        SearchSpace.parse(SPACE, ["partitioner.stages=2", "partitioner.devices.0=clean"]), EXPLICIT
    )
    plans = exact.front.plans
    starts_clean = [i for i, p in enumerate(plans) if p.num_stages == 2 and p.devices[0] == "clean"]
    assert list(points) == starts_clean
    stepped = SearchSpace.parse(SPACE | {f"partitioner.cuts.{i}": "range(0.25,1,0.25)" for i in range(2)})
    bounds = {b for i in exact.points(stepped, EXPLICIT) for b in plans[i].bounds[1:-1]}
    assert bounds <= {3}  # of the cuts at 1/6 ... 5/6 only 3/6 is a quarter


def test_a_warm_start_leaves_out_what_is_enqueued_and_keeps_ends_and_knee(problem: Problem) -> None:
    exact = ExactReference.of(problem, TWO)
    space = SearchSpace.parse(SPACE)
    everything = list(exact.points(space, EXPLICIT).values())
    outside = len(exact.front.plans) - len(everything)
    beside = f", {outside} outside the sweep's space" if outside else ""
    assert exact.warm_start(space, EXPLICIT, [], 99) == (everything, beside.removeprefix(", "))
    asked = everything[0] | {"scheduler.carbon_weight": 0.5}
    assert exact.warm_start(space, EXPLICIT, [asked], 99) == (everything[1:], f"1 in sweep.enqueue{beside}")
    three, others = exact.warm_start(space, EXPLICIT, [], 3)
    assert others.endswith(f"{len(everything) - 3} beyond sweep.n_trials")
    assert len(three) == 3
    assert (three[0], three[-1]) == (everything[0], everything[-1])
    with pytest.raises(ConfigError, match=r"sweep.enqueue leaves no room in sweep.n_trials \(1 are enqueued"):
        exact.warm_start(space, EXPLICIT, [asked], 0)
    enqueued = f"{len(everything)} in sweep.enqueue{beside}"
    assert exact.warm_start(space, EXPLICIT, everything, 0) == ([], enqueued)


def test_a_space_without_the_front_s_plans_is_refused(problem: Problem) -> None:
    exact = ExactReference.of(problem, TWO)
    with pytest.raises(
        ConfigError,
        match=r"holds none of the .* plans .*; for one of them partitioner.stages, partitioner.devices.0 m",
    ):
        exact.warm_start(SearchSpace.parse({"scheduler.carbon_weight": "interval(0,1)"}), EXPLICIT, [], 9)
