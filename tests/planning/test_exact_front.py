"""The exact front against all plans, one by one, and what is chosen from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioners.exact import Exact
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import Plan
from pipeline.planning import pareto
from pipeline.planning.cost import NOWHERE, Floats, Ints, Tables, predict
from pipeline.planning.exact_front import ExactFront, exact_front
from pipeline.planning.fastest_pipeline import fastest_pipeline
from pipeline.planning.label_setting.front import front_arrays
from pipeline.planning.label_setting.rules import PlanRules
from pipeline.planning.stage_times import StageTimes
from tests.conftest import MakeProblem

MAX_LAYERS, MAX_DEVICES = 5, 3
OBJECTIVES = [
    ("carbon_g", "latency_s"),
    ("energy_j", "latency_s"),
    ("carbon_g", "energy_j"),
    ("carbon_g", "transfer_bytes"),
    ("latency_s",),
    ("period_s",),
    ("carbon_g", "period_s"),
    ("latency_s", "period_s"),
    ("carbon_g", "latency_s", "transfer_bytes"),
    ("carbon_g", "latency_s", "period_s"),
    ("carbon_g", "energy_j", "latency_s"),
]


def random_tables(
    seed: int,
    layers: int,
    devices: int,
    *,
    source: int = NOWHERE,
    idle: bool = False,
    tied: bool = False,
    room: float | None = None,
    codec: bool = False,
    apart: float = 0.0,
    equal: bool = False,
) -> Tables:
    """A small problem in which splits pay: cheap links, devices that differ in what they are good at.

    room: memory of a device over what the whole model needs, give or take half; equal: whole numbers
    throughout, so that many plans cost the same.
    """
    random = np.random.default_rng(seed)
    shape = (devices, devices)

    def draw(low: float, high: float, size: int | tuple[int, ...]) -> Floats:
        values = random.uniform(low, high, size)
        return np.ceil(values / high * 3) * high / 3 if equal else values

    def between(low: float, high: float) -> Floats:
        values = draw(low, high, shape)
        both = np.triu(values, 1) + np.triu(values, 1).T
        return np.asarray(both)

    layer_s = draw(1e-4, 4e-3, layers) * draw(0.3, 2.0, (devices, layers)) / draw(0.3, 3.0, (devices, 1))
    start = np.zeros((devices, 1))
    latency_s = between(1e-5, 3e-4)
    latency_s[np.triu(random.random(shape) < apart, 1)] = np.inf
    latency_s = np.maximum(latency_s, latency_s.T)
    active_w, g_per_j = draw(2, 50, devices), draw(50, 900, devices) / 3.6e6
    held_w = active_w * draw(0.1, 0.5, devices) if idle else np.zeros(devices)
    params = np.round(draw(1e5, 4e6, layers))  # bytes are whole, so their sums are exact
    starts = np.concatenate([[0.0], np.cumsum(params)])
    param_bytes = np.triu(starts[None] - starts[:, None])
    if tied and layers > 1:  # two layers share most of the smaller one's parameters
        i, j = sorted(random.choice(layers, 2, replace=False))
        param_bytes[: i + 1, j + 1 :] -= np.floor(0.9 * min(params[i], params[j]))
    peaks = np.round(draw(1e5, 4e6, layers))
    peak_bytes = np.zeros_like(param_bytes)
    for begin in range(layers):
        peak_bytes[begin, begin + 1 :] = np.maximum.accumulate(peaks[begin:])
    whole = param_bytes[0, -1] + peak_bytes[0, -1]
    sent = draw(1e3, 2e4, layers + 1)
    coded = sent * 1e-8 / draw(0.3, 3.0, (devices, 1)) if codec else np.zeros((devices, layers + 1))
    link_j = between(0, 1e-7)
    return Tables(
        names=tuple(f"d{index}" for index in range(devices)),
        times=StageTimes(
            layers_s=np.concatenate([start, np.cumsum(layer_s, axis=1)], axis=1),
            start_s=draw(1e-5, 1e-4, devices),
            decode_s=2 * coded,
            encode_s=coded,
        ),
        sent_bytes=sent,
        link_latency_s=latency_s,
        link_s_per_byte=between(1e-8, 1e-6),
        link_j_per_byte=link_j,
        link_g_per_byte=link_j * 0.5 * (g_per_j[:, None] + g_per_j),
        dynamic_w=active_w - held_w,
        busy_idle_w=np.zeros(devices),
        held_w=held_w,
        g_per_j=g_per_j,
        held_g_per_s=held_w * g_per_j,
        memory_bytes=np.full(devices, np.inf) if room is None else draw(0.5, 1.5, devices) * room * whole,
        source=source,
        param_bytes=param_bytes,
        peak_bytes=peak_bytes,
    )


def whole_fleet(tables: Tables) -> Tables:
    """The same problem if each plan holds all devices, and not only its own."""
    none, fleet_w, fleet_g_per_s = 0 * tables.held_w, tables.held_w.sum(), tables.held_g_per_s.sum()
    return replace(tables, held_w=none, held_g_per_s=none, fleet_w=fleet_w, fleet_g_per_s=fleet_g_per_s)


def all_plans(tables: Tables, rules: PlanRules) -> tuple[Ints, Ints]:
    """Every plan that obeys the rules, neighbouring stages on one device included."""
    layers, devices = tables.num_layers, range(len(tables.names))
    bounds, where = [], []
    for stages in range(1, min(layers, rules.max_stages or layers) + 1):
        chosen = combinations(range(1, layers), stages - 1)
        for cuts, placed in product(chosen, product(devices, repeat=stages)):
            ends = (0, *cuts, layers)
            if rules.distinct and len(set(placed)) < stages:
                continue
            if rules.memory and any(need > tables.memory_bytes[d] for d, need in needs(tables, ends, placed)):
                continue
            bounds.append(ends + (layers,) * (layers - stages))
            where.append(placed + (0,) * (layers - stages))
    whole, placements = np.array(bounds, dtype=int), np.array(where, dtype=int)
    return whole.reshape(-1, layers + 1), placements.reshape(-1, layers)


def needs(tables: Tables, ends: tuple[int, ...], placed: tuple[int, ...]) -> list[tuple[int, float]]:
    """Bytes that a plan needs of each of its devices."""
    found = []
    for device in set(placed):
        own = [(ends[k], ends[k + 1]) for k, d in enumerate(placed) if d == device]
        peak = max(tables.peak_bytes[stage] for stage in own)
        found.append((device, float(sum(tables.param_bytes[stage] for stage in own) + peak)))
    return found


def brute_force(tables: Tables, objectives: tuple[str, ...], rules: PlanRules) -> Floats:
    """The front's outcomes, by trying everything."""
    cost = tables.cost(*all_plans(tables, rules))
    values = cost.columns(objectives)[np.isfinite(cost.latency_s)]
    front = values[[not _beaten(row, values) for row in values]] if len(values) else values
    return front[np.lexsort(front.T[::-1])]


def _beaten(row: Floats, values: Floats) -> bool:
    """Whether another row is better somewhere and nowhere worse, rounding aside."""
    slack = 1e-12 * np.abs(row)
    worse = (values > row + slack).sum(axis=1)
    better = (values < row - slack).sum(axis=1)
    return bool(((worse == 0) & (better > 0)).any())


def assert_same_outcomes(found: Floats, expected: Floats) -> None:
    """Each outcome of one set is in the other, rounding aside; none is there twice in `found`."""
    assert found.shape[1] == expected.shape[1]
    assert (len(found) == 0) == (len(expected) == 0)
    if len(found):
        close = np.all(np.isclose(found[:, None], expected[None], rtol=1e-9, atol=0), axis=2)
        assert np.any(close, axis=0).all(), "an outcome of the front is missing"
        assert np.any(close, axis=1).all(), "an outcome is not of the front"


@st.composite
def instances(draw: st.DrawFn) -> tuple[Tables, tuple[str, ...], PlanRules]:
    objectives = draw(st.sampled_from(OBJECTIVES))
    devices = draw(st.integers(1, MAX_DEVICES))
    tables = random_tables(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(1, MAX_LAYERS)),
        devices,
        source=draw(st.integers(NOWHERE, devices - 1)),
        idle=draw(st.booleans()),
        tied=draw(st.booleans()),
        room=draw(st.sampled_from([None, 0.6, 1.0])),
        codec=draw(st.booleans()),
        apart=draw(st.sampled_from([0.0, 0.0, 0.5])),
        equal=draw(st.booleans()),
    )
    tables = whole_fleet(tables) if draw(st.booleans()) else tables
    rules = PlanRules(
        distinct=draw(st.booleans()),
        memory=draw(st.booleans()),
        max_stages=draw(st.sampled_from([None, None, 1, 2, 3])),
    )
    return tables, objectives, rules


@settings(max_examples=600, deadline=None, derandomize=True)
@given(instances())
def test_the_front_is_that_of_all_plans(instance: tuple[Tables, tuple[str, ...], PlanRules]) -> None:
    tables, objectives, rules = instance
    bounds, where, costs = front_arrays(tables, objectives, rules)
    assert_same_outcomes(costs, brute_force(tables, objectives, rules))
    assert len(np.unique(costs, axis=0)) == len(costs)
    for ends, placed in zip(bounds.tolist(), where.tolist(), strict=True):
        stages = sum(a < b for a, b in pairwise(ends))
        plan = tuple(ends[: stages + 1]), tuple(placed[:stages])
        assert stages <= (rules.max_stages or stages)
        assert not rules.distinct or len(set(plan[1])) == stages
        if rules.memory:
            assert all(need <= tables.memory_bytes[d] for d, need in needs(tables, *plan))


def test_the_instances_are_no_toys() -> None:
    """Splits, several points, refused plans: all are there, so that the test above can fail."""
    fronts, splits = [], 0
    for seed in range(60):
        tables = random_tables(seed, 5, 3, apart=0.3)
        bounds, _, costs = front_arrays(tables, ("carbon_g", "latency_s"), PlanRules())
        fronts.append(len(costs))
        splits += int((bounds[:, 1] < tables.num_layers).sum())
    assert max(fronts) >= 5
    assert np.mean(fronts) > 1.5
    assert splits > 30
    tight = [random_tables(seed, 5, 3, room=0.6) for seed in range(60)]
    sizes = {len(front_arrays(tables, ("carbon_g", "latency_s"), PlanRules())[0]) for tables in tight}
    assert 0 in sizes
    free = [len(front_arrays(t, ("carbon_g", "latency_s"), PlanRules(memory=False))[0]) for t in tight]
    assert min(free) > 0


def test_a_device_that_returns_is_held_to_its_memory() -> None:
    """The search leaves such rules out until a front breaks them: here it does, so it must notice."""
    broken = 0
    for seed in range(200):
        tables = random_tables(seed, 5, 2, room=0.8)
        objectives, rules = ("carbon_g", "latency_s"), PlanRules()
        unlimited = front_arrays(tables, objectives, PlanRules(memory=False))
        need = tables.memory_need_bytes(*unlimited[:2])
        returns = np.array([len(set(row)) < len(row) for row in unlimited[1].tolist()])
        broken += int(np.any(np.any(need > tables.memory_bytes, axis=1) & returns))
        assert_same_outcomes(
            front_arrays(tables, objectives, rules)[2], brute_force(tables, objectives, rules)
        )
    assert broken > 5


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, MAX_LAYERS), st.integers(1, MAX_DEVICES), st.booleans())
def test_pipeedge_finds_the_least_period(seed: int, layers: int, devices: int, tight: bool) -> None:
    tables = random_tables(seed, layers, devices, room=0.7 if tight else None, apart=0.2, codec=True)
    expected = brute_force(tables, ("period_s",), PlanRules(distinct=True))
    bounds, placed = fastest_pipeline(tables)
    assert bool(bounds) == bool(len(expected))
    if bounds:
        found = tables.cost(np.array([bounds]), np.array([placed])).period_s[0]
        assert found == pytest.approx(expected[0, 0], rel=1e-9)


# --- what is chosen from a front ------------------------------------------------------------------


@pytest.fixture
def front() -> ExactFront:
    """Carbon 1..4 against latency 40, 20, 15, 10."""
    plans = tuple(Plan((0, 6), (f"d{index}",)) for index in range(4))
    costs = np.array([[1.0, 40.0], [2.0, 20.0], [3.0, 15.0], [4.0, 10.0]])
    return ExactFront(("carbon_g", "latency_s"), plans, costs)


def test_least_within_limits(front: ExactFront) -> None:
    assert front.least("carbon_g", {"latency_s": 20}).devices == ("d1",)
    assert front.least("carbon_g", {"latency_s": 19.9}).devices == ("d2",)
    assert front.least("latency_s", {"carbon_g": 3.5}).devices == ("d2",)
    assert front.least("latency_s", {}).devices == ("d3",)


def test_out_of_reach_names_the_tightest_limit_and_by_how_much(front: ExactFront) -> None:
    with pytest.raises(
        ConfigError, match=r"limits.latency_s: no plan reaches 8; the nearest has 10, 2 above"
    ):
        front.least("carbon_g", {"latency_s": 8})
    with pytest.raises(
        ConfigError, match=r"limits.latency_s: no plan reaches 12 with carbon_g <= 2.5; the nearest has 15"
    ):
        front.least("carbon_g", {"latency_s": 12, "carbon_g": 2.5})
    with pytest.raises(ConfigError, match="limits: unknown 'energy_j'"):
        front.least("carbon_g", {"energy_j": 1})
    with pytest.raises(ConfigError, match=r"limits.latency_s: must be a number"):
        front.least("carbon_g", {"latency_s": float("nan")})


def test_weighted_and_knee(front: ExactFront) -> None:
    # Scaled: carbon 0, 1/3, 2/3, 1 and latency 1, 1/3, 1/6, 0: equal weights give 1, 2/3, 5/6, 1.
    assert front.weighted({"carbon_g": 1, "latency_s": 1}).devices == ("d1",)
    assert front.knee().devices == ("d1",)
    assert front.weighted({"carbon_g": 1}).devices == ("d0",)
    assert front.weighted({"latency_s": 2}).devices == ("d3",)
    # 3 to 1: 1, 4/3, 13/6, 3. 1 to 3.5: 3.5, 1.5, 1.25, 1.
    assert front.weighted({"carbon_g": 3, "latency_s": 1}).devices == ("d0",)
    assert front.weighted({"carbon_g": 1, "latency_s": 3.5}).devices == ("d3",)
    for bad in ({}, {"carbon_g": 0}, {"carbon_g": -1, "latency_s": 2}):
        with pytest.raises(ConfigError, match="weights"):
            front.weighted(bad)


# --- on a real graph ------------------------------------------------------------------------------


def test_costs_are_those_of_predict(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = replace(make_problem(two_devices), compression="int8")
    front = exact_front(problem)
    cost = predict(problem, front.plans)
    assert front.costs == pytest.approx(cost.columns(front.objectives))
    assert {plan.compression for plan in front.plans} == {"int8"}
    assert pareto.non_dominated(front.costs).all()


def test_when_not_to_split(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """A transfer of 100 ms costs the tiny network more than any split could save."""
    slow_link = (Link("wan", 1e6, 0.1),)
    front = exact_front(make_problem(replace(two_devices, links=slow_link)))
    assert [plan.devices for plan in front.plans] == [("clean",), ("fast",)]
    fast_link = (Link("lan", 1e9, 1e-5),)
    front = exact_front(make_problem(replace(two_devices, links=fast_link)), ("carbon_g", "latency_s"))
    assert max(plan.num_stages for plan in front.plans) > 1


def test_exact_partitioner_takes_the_point_asked_for(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)  # unsplit: clean takes 42 ms + 1 ms start, fast half of it
    assert Exact(minimize="carbon_g").partition(problem) == Plan((0, 6), ("clean",))
    assert Exact(minimize="carbon_g", limits={"latency_s": 0.03}).partition(problem) == Plan(
        (0, 6), ("fast",)
    )
    assert Exact(weights={"carbon_g": 1.0, "latency_s": None}).partition(problem) == Plan((0, 6), ("clean",))
    assert Exact().partition(problem) in exact_front(problem).plans
    # fast: 21 ms + 0.5 ms = 21.5 ms.
    with pytest.raises(ConfigError, match=r"limits.latency_s: no plan reaches 0.02; the nearest has 0.0215"):
        Exact(minimize="carbon_g", limits={"latency_s": 0.02}).partition(problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ["carbon_g", "beauty"]}, "objectives: unknown 'beauty'"),
        ({"objectives": []}, "one to three"),
        ({"objectives": ["carbon_g", "carbon_g"]}, "one to three different"),
        ({"minimize": "energy_j"}, "partitioner.minimize: add 'energy_j' to partitioner.objectives"),
        ({"limits": {"latency_s": 1}}, "set partitioner.minimize as well"),
        ({"minimize": "carbon_g", "limits": {"latency_s": "fast"}}, "latency_s must be a number"),
        ({"minimize": "carbon_g", "weights": {"latency_s": 1}}, "either weights or minimize"),
        ({"max_stages": 0}, "max_stages: must be a whole number >= 1"),
        ({"objectives": "carbon_g"}, "objectives: must be a list"),
        ({"objectives": [1, 2], "minimize": "carbon_g"}, "objectives: must be a list of names"),
        ({"limits": 3}, "limits: must map objectives to numbers"),
        ({"distinct": "yes"}, "distinct: must be true or false"),
    ],
)
def test_exact_refuses(
    options: dict[str, object], message: str, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    with pytest.raises(ConfigError, match=message):
        Exact(**options).partition(make_problem(two_devices))  # type: ignore[arg-type]


def _fleet(memory_bytes: list[float], links: tuple[Link, ...], source: str | None = None) -> Fleet:
    devices = [
        Device(f"d{i}", memory_bytes=room, active_w=10, speed=1.0, intensity_g_per_kwh=100)
        for i, room in enumerate(memory_bytes)
    ]
    return Fleet("fleet", tuple(devices), links, source)


def test_what_cannot_be_says_what_is_tightest(make_problem: MakeProblem) -> None:
    lan = (Link("lan", 1e8),)
    # The linear layer holds 256 x 10 weights and 10 biases, 10280 bytes, beside its input and output, 1064.
    with pytest.raises(
        ConfigError, match=r"d1.memory_bytes: layer 5 \(linear\) needs 11.3 kB .* has 6 kB, 5.34 kB short"
    ):
        exact_front(make_problem(_fleet([5e3, 6e3], lan)))
    problem = make_problem(_fleet([12e3, 12e3], lan))
    assert exact_front(problem, max_stages=10**12).plans == exact_front(problem).plans
    assert {plan.num_stages for plan in exact_front(problem).plans} == {2}
    with pytest.raises(
        ConfigError, match=r"no plan fits the connected devices in at most 1 stages: tiny needs"
    ):
        exact_front(problem, max_stages=1)
    with pytest.raises(ConfigError, match="no plan fits the connected devices"):
        exact_front(make_problem(_fleet([12e3, 12e3], ())))
    with pytest.raises(
        ConfigError, match=r"fleet.links: no device that can hold tiny can be reached from d0"
    ):
        exact_front(make_problem(_fleet([1e3, 1e9], (), source="d0")))
