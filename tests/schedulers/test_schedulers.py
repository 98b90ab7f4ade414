"""Algorithm 1 against numbers worked out by hand, and the contract that every scheduler in conf/ keeps."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import HISTORY, DeviceState
from pipeline.execution.fleet_state import FleetState
from schedulers.constrained import Constrained
from schedulers.normalized import BLOCKS, FEW, Rows, best_of_all
from schedulers.round_robin import RoundRobin
from schedulers.weighted import scores
from tests.conftest import choices, configured

TASK = Task(request=0, stage=0, cpu_need=0.1, memory_need_bytes=100e6, input_bytes=0, location=None)


scheduler = functools.partial(configured, "scheduler")


cached = functools.cache(scheduler)


@functools.cache
def paper_fleet() -> Fleet:
    fleet: Fleet = configured("fleet", "paper")
    return fleet


def state_of(fleet: Fleet, times_s: Mapping[str, float], unfit: tuple[str, ...] = ()) -> FleetState:
    """Two stages that take the same on a device; `unfit` devices do not hold them."""
    seconds = {name: time_s for name, time_s in times_s.items() if name not in unfit}
    work = [StageDeployment(0, stage, AUTO, TASK.memory_need_bytes, 0, seconds, 0.0) for stage in range(2)]
    intensity = Intensity.constant({d.name: d.intensity_g_per_kwh or 0.0 for d in fleet.devices})
    return FleetState(fleet, work, intensity)


# The paper's own times: 250 ms on every node (its quota hardly acted).
EQUAL = {"node-high": 0.25, "node-medium": 0.25, "node-green": 0.25}
# Honest slow-down: 20 ms of CPU at quotas 1, 0.6 and 0.4.
HONEST = {"node-high": 0.02, "node-medium": 0.02 / 0.6, "node-green": 0.05}


def test_the_five_scores_by_hand() -> None:
    device = Device("d", memory_bytes=200e6, active_w=72.0, cpu_quota=0.5, intensity_g_per_kwh=500)
    state = state_of(Fleet("f", (device,)), {"d": 0.25})
    d = state.devices["d"]
    idle = scores(TASK, d)
    assert (idle.resource, idle.load, idle.balance) == (1.0, 1.0, 1.0)
    assert idle.performance == pytest.approx(1 / 1.25)
    # 72 W * 250 ms / 3 600 000 = 0.005 Wh; * 500 g = 2.5
    assert idle.carbon == pytest.approx(1 / 3.5)

    state.begin(TASK, "d")
    state.begin(TASK._replace(cpu_need=0.35, memory_need_bytes=25e6), "d")
    busy = scores(TASK, d)
    assert d.load == pytest.approx(0.9)
    assert busy.load == pytest.approx(0.1)
    # 0.05 of 0.1 CPU is free, 75 of 100 MB: 0.5 * 0.5 + 0.5 * 0.75
    assert busy.resource == pytest.approx(0.625)
    assert busy.balance == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("mode", "weights"),
    [
        ("performance", (0.25, 0.25, 0.30, 0.15, 0.05)),
        ("green", (0.15, 0.15, 0.10, 0.10, 0.50)),
        ("balanced", (0.20, 0.20, 0.15, 0.15, 0.30)),
    ],
)
def test_table_1(mode: str, weights: tuple[float, ...]) -> None:
    w = scheduler(mode).weights
    assert (w.resource, w.load, w.performance, w.balance, w.carbon) == weights


def test_the_carbon_weight_rescales_the_other_four() -> None:
    w = scheduler("green", carbon_weight=0.8).weights
    # The other four of green sum to 0.5 and must now sum to 0.2.
    assert w.carbon == 0.8
    assert (w.resource, w.load, w.performance, w.balance) == pytest.approx((0.06, 0.06, 0.04, 0.04))
    at_mode = scheduler("green", carbon_weight=0.5).weights
    assert at_mode.resource == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("mode", "times", "device"),
    [
        # S_P spans 1/1.02 - 1/1.05 = .0280; I * E_est is 620*140*20/3.6e6 = .4822 on node-high and
        # 380*56*50/3.6e6 = .2956 on node-green, so S_C spans .7719 - .6747 = .0972.
        ("performance", HONEST, "node-high"),  # .30 * .0280 > .05 * .0972
        ("green", HONEST, "node-green"),  # .10 * .0280 < .50 * .0972
        ("balanced", HONEST, "node-green"),  # .15 * .0280 < .30 * .0972: not Table V's node-high
        ("green", EQUAL, "node-green"),
    ],
)
def test_table_5(mode: str, times: dict[str, float], device: str) -> None:
    assert scheduler(mode).decide(TASK, state_of(paper_fleet(), times)) == Assign(device)


def test_a_loaded_device_is_skipped_and_all_loaded_means_wait() -> None:
    state = state_of(paper_fleet(), HONEST)
    green = scheduler("green")
    heavy = TASK._replace(cpu_need=0.33)
    state.begin(heavy, "node-green")  # load .33 / .4 = .825 > .8
    assert green.decide(TASK, state) == Assign("node-medium")
    state.begin(TASK._replace(cpu_need=0.5), "node-medium")
    state.begin(TASK._replace(cpu_need=0.9), "node-high")
    assert green.decide(TASK, state) == Wait(float("inf"))
    state.end(heavy, "node-green", 0.05)
    assert state.devices["node-green"].load == 0.0
    assert green.decide(TASK, state) == Assign("node-green")


def test_a_distant_device_is_skipped_where_a_threshold_is_set() -> None:
    fleet = paper_fleet()
    far = Link("far", 1e8, latency_s=0.2, between=("node-high", "node-green"))
    state = state_of(replace(fleet, links=(*fleet.links, far)), HONEST)
    task = TASK._replace(location="node-high")
    assert scheduler("green").decide(task, state) == Assign("node-green")
    assert scheduler("green", max_latency_s=0.1).decide(task, state) == Assign("node-medium")


def test_refusal_says_why() -> None:
    state = state_of(paper_fleet(), HONEST, unfit=("node-high", "node-medium", "node-green"))
    decision = scheduler("green").decide(TASK, state)
    assert isinstance(decision, Refuse)
    assert "node-green has too little memory" in decision.reason
    too_much = scheduler("green").decide(TASK._replace(cpu_need=2), state_of(paper_fleet(), HONEST))
    assert isinstance(too_much, Refuse)
    assert "too little CPU" in too_much.reason


def test_history_begins_with_the_profile_and_keeps_the_last_100() -> None:
    state = state_of(paper_fleet(), HONEST)
    device = state.devices["node-high"]
    assert device.mean_time_s(0) == pytest.approx(0.02)

    def execute(value: float, times: int) -> None:
        for _ in range(times):
            state.begin(TASK, "node-high")
            state.end(TASK, "node-high", value)

    execute(0.13, 1)  # the profile counts as ten executions of 20 ms
    assert device.mean_time_s(0) == pytest.approx((10 * 0.02 + 0.13) / 11)
    execute(0.5, HISTORY - 1)
    assert device.mean_time_s(0) == pytest.approx((0.13 + 0.5 * (HISTORY - 1)) / HISTORY)
    execute(0.5, 1)
    assert device.mean_time_s(0) == pytest.approx(0.5)
    assert device.mean_time_s(1) == pytest.approx(0.02)  # another stage has a history of its own


def test_one_slow_task_does_not_drive_all_others_away() -> None:
    state = state_of(paper_fleet(), HONEST)
    state.begin(TASK, "node-green")
    state.end(TASK, "node-green", 4 * HONEST["node-green"])
    assert scheduler("green").decide(TASK, state) == Assign("node-green")


def test_round_robin_takes_turns_among_the_able() -> None:
    state = state_of(paper_fleet(), HONEST, unfit=("node-medium",))
    turns = []
    for _ in range(4):
        decision = RoundRobin().decide(TASK, state)
        assert isinstance(decision, Assign)
        turns.append(decision.device)
        state.begin(TASK, decision.device)
    assert turns == ["node-high", "node-green", "node-high", "node-green"]


@pytest.mark.parametrize(
    ("key", "value"), [("carbon_weight", 1.2), ("resource_weight", -0.1), ("mode_carbon_weight", "much")]
)
def test_weights_outside_0_to_1_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"scheduler.*{key}"):
        replace(scheduler("green"), **{key: value})


# --- every scheduler against a plain look at all devices, in states that change under it ---


@st.composite
def situations(draw: st.DrawFn) -> tuple[Fleet, list[StageDeployment], list[tuple[Any, ...]]]:
    """A fleet, two stages, and what happens: tasks begin and end, time passes, devices go and come."""
    count = draw(st.integers(1, 6))
    number = st.sampled_from([0.5, 1.0, 2.0, 3.0])
    devices = [
        Device(f"d{k}", 1e9, active_w=draw(number) * 10, speed=1, intensity_g_per_kwh=draw(number) * 100)
        for k in range(count)
    ]
    names = [device.name for device in devices]
    links = [Link("lan", draw(number) * 1e6, 0.01, 1e-6)] if draw(st.booleans()) else []
    if count > 1 and draw(st.booleans()):
        links.append(Link("own", draw(number) * 1e5, 0.2, 1e-5, between=(names[0], names[1])))
    work = []
    for stage in range(2):
        holders = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        work.append(
            StageDeployment(0, stage, AUTO, 1e8, 100_000, {name: draw(number) for name in holders}, 0.25)
        )
    events = draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("begin"), st.sampled_from(names), st.integers(0, 1)),
                st.tuples(st.just("end"), st.sampled_from(names)),
                st.tuples(st.just("pass"), st.sampled_from([0.0, 0.5, 4.0])),
                st.tuples(st.just("up"), st.sampled_from(names), st.booleans()),
                st.tuples(
                    st.just("ask"),
                    st.integers(0, 1),
                    st.sampled_from([None, *names]),
                    st.sampled_from([0.5, 2.0, 5.0, math.inf]),
                ),
            ),
            max_size=25,
        )
    )
    return Fleet("fleet", tuple(devices), tuple(links)), work, events


def plain(name: str, task: Task, state: FleetState) -> str | None:
    """The device that a scheduler should choose, by looking at all; None where none is able."""
    able = [
        d for d in state.in_order if d.fits(task.stage) and state.link_latency_s(task, d.name) is not None
    ]

    def done_s(d: DeviceState) -> float:
        return max(state.now_s + state.transfer_s(task, d.name), d.free_at_s) + float(
            d.seconds[task.stage] or 0
        )

    def grams(d: DeviceState) -> float:
        return state.carbon_g(task, d)

    if name in ("green", "performance", "balanced"):
        w = cached(name).weights
        able = [d for d in able if d.load <= 0.8 and task.cpu_need <= d.cpu_free]
        best = max(able, default=None, key=lambda d: (_score(w, scores(task, d)), -d.index))
        return None if best is None else best.name
    if name == "normalized":
        able = [d for d in able if d.load <= 0.8 and task.cpu_need <= d.cpu_free]
        return _normalized(cached(name).weights, [(d, scores(task, d)) for d in able])
    if name == "constrained":
        left_s = task.deadline_s - state.work[task.stage].after_s - state.now_s
        in_time = [d for d in able if done_s(d) <= state.now_s + left_s / (1 + cached(name).margin)]
        able = sorted(in_time, key=grams)[:1] or able
        name = "fastest"
    keys: dict[str, Any] = {"fastest": done_s, "greenest": grams, "least_loaded": lambda d: d.backlog_s}
    best = min(able, default=None, key=keys[name])
    return None if best is None else best.name


def _score(w: Any, s: Any) -> float:
    return float(
        w.resource * s.resource
        + w.load * s.load
        + w.performance * s.performance
        + w.balance * s.balance
        + w.carbon * s.carbon
    )


def _normalized(w: Any, found: list[tuple[DeviceState, Any]]) -> str | None:
    names = ("resource", "load", "performance", "balance", "carbon")
    best, best_sum = None, -math.inf
    for device, own in found:
        total = 0.0
        for name in names:
            column = [getattr(s, name) for _, s in found]
            spread = max(column) - min(column)
            total += getattr(w, name) / spread * getattr(own, name) if spread > 0 else 0.0
        if total > best_sum:
            best, best_sum = device.name, total
    return best


PLAIN = [
    "green",
    "performance",
    "balanced",
    "normalized",
    "constrained",
    "fastest",
    "greenest",
    "least_loaded",
]


DECIDING = [name for name in choices("scheduler") if name != "pinned"]  # which decides nothing


@pytest.mark.parametrize("name", DECIDING)
@settings(max_examples=150, deadline=None)
@given(situation=situations())
def test_contract(name: str, situation: tuple[Fleet, list[StageDeployment], list[tuple[Any, ...]]]) -> None:
    """The same answer twice, and an able device; where a plain look at all devices is written down, its."""
    fleet, work, events = situation
    state = FleetState(
        fleet, work, Intensity.constant({d.name: d.intensity_g_per_kwh or 0 for d in fleet.devices})
    )
    running: dict[str, list[Task]] = {d.name: [] for d in fleet.devices}
    for number, (what, *about) in enumerate(events):
        if what == "begin" and state.devices[about[0]].fits(about[1]):
            task = TASK._replace(request=number, stage=about[1])
            running[about[0]].append(task)
            state.begin(task, about[0])
        elif what == "end" and running[about[0]]:
            state.end(running[about[0]].pop(0), about[0], 1.0)
        elif what == "pass":
            state.advance(state.now_s + about[0])
        elif what == "up":
            state.set_up(about[0], about[1])
        elif what == "ask":
            stage, location, slack_s = about
            task = TASK._replace(
                request=number,
                stage=stage,
                location=location,
                input_bytes=100_000,
                deadline_s=state.now_s + slack_s,
            )
            decision = cached(name).decide(task, state)
            assert cached(name).decide(task, state) == decision
            _require_sensible(decision, task, state)
            if name in PLAIN:
                chosen = decision.device if isinstance(decision, Assign) else None
                assert chosen == plain(name, task, state)


def _require_sensible(decision: Decision, task: Task, state: FleetState) -> None:
    held = [d for d in state.in_order if d.seconds[task.stage] is not None]
    reached = [d for d in held if state.link_latency_s(task, d.name) is not None]
    if isinstance(decision, Assign):
        assert state.devices[decision.device] in reached
        assert state.devices[decision.device].up
    elif isinstance(decision, Refuse):
        assert not reached
        assert len(decision.reason.split("; ")) == len(state.in_order)
    else:
        assert reached


@pytest.mark.parametrize("name", DECIDING)
def test_without_an_able_device_the_answer_says_why(name: str) -> None:
    everyone = ("node-high", "node-medium", "node-green")
    decision = cached(name).decide(TASK, state_of(paper_fleet(), HONEST, unfit=everyone))
    assert isinstance(decision, Refuse)
    assert "node-green has too little memory" in decision.reason
    state = state_of(paper_fleet(), HONEST)
    for device in everyone:
        state.set_up(device, False)
    assert cached(name).decide(TASK, state) == Wait(math.inf)


def test_constrained_by_hand() -> None:
    """node-green is the greenest and takes 50 ms: two are done in 120 ms with a tenth left, not three."""
    state = state_of(paper_fleet(), HONEST)
    constrained, task = cached("constrained"), TASK._replace(deadline_s=0.12)
    for expected in ("node-green", "node-green", "node-high"):
        # 620 * 140 W * 20 ms is more than 530 * 84 * 33.3 ms on node-medium, which is idle.
        decision = constrained.decide(task, state)
        expected = "node-medium" if expected == "node-high" else expected
        assert decision == Assign(expected)
        state.begin(task, expected)
    # Nobody is done within 10 ms: the least late is node-high.
    assert constrained.decide(TASK._replace(deadline_s=0.01), state) == Assign("node-high")
    assert configured("scheduler", "constrained", slo_s=0.01).decide(TASK, state) == Assign("node-high")
    assert constrained.decide(TASK, state) == Assign("node-green")
    with pytest.raises(ConfigError, match="slo_s must be a number > 0"):
        Constrained(slo_s=0)
    # The second is done after 100 ms: a quarter of that is not left of 120.
    state.end(task, "node-green", 0.05)
    for margin, device in ((0.1, "node-green"), (0.25, "node-medium")):
        assert Constrained(margin=margin).decide(task, state) == Assign(device)


def test_random_is_seeded_and_even() -> None:
    state = state_of(paper_fleet(), HONEST)
    seeded = [configured("scheduler", "random", seed=seed) for seed in (0, 0, 1)]
    drawn = [[each.decide(TASK._replace(request=k), state) for k in range(3000)] for each in seeded]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert min(drawn[0].count(Assign(name)) for name in paper_fleet().by_name) > 900


def test_an_intensity_that_changes_changes_the_choice() -> None:
    fleet = paper_fleet()
    steps = Intensity(
        tuple(fleet.by_name), np.array([0.0, 3600.0]), np.array([[620.0, 620], [530, 530], [380, 3800]])
    )
    work = [StageDeployment(0, 0, AUTO, 1e6, 0, dict.fromkeys(fleet.by_name, 0.1), 0.0)]
    state = FleetState(fleet, work, steps)
    for now_s, device in ((0.0, "node-green"), (3599.0, "node-green"), (3600.0, "node-medium")):
        state.advance(now_s)
        assert [cached(name).decide(TASK, state) for name in ("greenest", "constrained")] == [
            Assign(device)
        ] * 2


def test_the_carbon_weight_of_normalized_scores_moves_the_choice_all_the_way() -> None:
    """node-high is fastest and dirtiest, node-green slowest and cleanest: 1 and 0 of S_P, 0 and 1 of S_C.

    node-medium has .548 of S_P (1/1.0333 between 1/1.02 and 1/1.05) and .344 of S_C (.7081 between .6747 and
    .7719). Of green's other weights a fifth is S_P's, and the other scores are equal: node-high has
    (1 - w) / 5, node-green w, and node-medium, in between, is never first. They meet at w = 1/6.
    """
    state = state_of(paper_fleet(), HONEST)
    chosen = []
    for weight in (0.0, 0.1, 0.16, 0.17, 0.5, 1.0):
        decision = configured("scheduler", "normalized", carbon_weight=weight).decide(TASK, state)
        assert isinstance(decision, Assign)
        chosen.append(decision.device)
    assert chosen == ["node-high"] * 3 + ["node-green"] * 3


ROW = st.one_of(
    st.none(),
    st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])] * 5),
    st.tuples(*[st.floats(-1, 1)] * 5),
)


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.lists(ROW, min_size=1, max_size=6),
    picks=st.lists(st.integers(0, 5), min_size=1, max_size=4 * FEW),
    weights=st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 5),
    changes=st.lists(st.tuples(st.integers(0, 4 * FEW - 1), st.integers(0, 5)), max_size=8),
    barred=st.sets(st.integers(0, 4 * FEW - 1), max_size=3),
    blocks=st.sampled_from([4, 64, BLOCKS]),
)
def test_blocks_find_what_a_look_at_every_row_finds(
    kinds: list[Any],
    picks: list[int],
    weights: Any,
    changes: list[tuple[int, int]],
    barred: set[int],
    blocks: int,
) -> None:
    """Many equal rows, so that the first of equals matters; in blocks of several rows, and of one each."""
    plain = [kinds[pick % len(kinds)] for pick in picks]
    with mock.patch("schedulers.normalized.BLOCKS", blocks):
        rows = Rows(plain)
    out = {index for index in barred if index < len(plain)}
    for at, pick in [(0, picks[0]), *changes]:
        index = at % len(plain)
        plain[index] = kinds[pick % len(kinds)]
        rows.put({index: plain[index]})
        left = [pair for pair in enumerate(plain) if pair[0] not in out]
        assert rows.best(weights) == best_of_all(list(enumerate(plain)), weights)
        assert rows.best(weights, out) == best_of_all(left, weights)


@pytest.mark.parametrize("lan_s", [0.01, 0.2, None])
@pytest.mark.parametrize("far", [0, 2, 30])
def test_normalized_in_a_fleet_of_300_of_which_some_are_far(far: int, lan_s: float | None) -> None:
    """Against a look at all, as tasks begin and end, and devices go and come; some lack the memory."""
    random = np.random.default_rng(far)
    devices = [
        Device(f"d{k}", 1e9, active_w=float(random.integers(1, 9)), intensity_g_per_kwh=100.0)
        for k in range(300)
    ]
    links = [] if lan_s is None else [Link("lan", 1e8, lan_s)]
    links += [
        Link(f"to d{k}", 1e8, 0.2 if k <= far else 0.05, between=("d0", f"d{k}")) for k in range(1, far + 3)
    ]
    times_s = {d.name: float(random.integers(1, 5)) / 10 for d in devices}
    state = state_of(Fleet("f", tuple(devices), tuple(links)), times_s, unfit=("d5", "d50"))
    normalized = configured("scheduler", "normalized", max_latency_s=0.1)
    for _ in range(50):
        task = TASK._replace(location=[None, "d0", "d1", "d70"][random.integers(4)])
        latencies = {d.name: state.link_latency_s(task, d.name) for d in state.in_order}
        near = {name for name, latency_s in latencies.items() if latency_s is not None and latency_s <= 0.1}
        able = [d for d in state.in_order if d.name in near and normalized.may_take(task, d)]
        decision = normalized.decide(task, state)
        chosen = decision.device if isinstance(decision, Assign) else None
        assert chosen == _normalized(normalized.weights, [(d, scores(task, d)) for d in able])
        if chosen is not None:
            state.begin(task, chosen)
        some = state.in_order[random.integers(300)]
        if some.in_flight:
            state.end(task, some.name, float(random.choice([0.1, 0.2])))
        state.set_up(some.name, bool(random.integers(4)))
