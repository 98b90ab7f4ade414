"""Every scheduler of conf/, in states that change, against a plain loop over all devices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FEW, FleetState
from schedulers.weighted import scores
from tests.conftest import choices
from tests.schedulers.conftest import HONEST, TASK, cached, paper_fleet, scaled_best, state_of


@st.composite
def situations(draw: st.DrawFn) -> tuple[Fleet, list[StageDeployment], list[tuple[Any, ...]]]:
    """A fleet, two stages, and what happens: tasks begin and end, time passes, devices go and come."""
    count = draw(st.integers(1, 6))
    number = st.sampled_from([0.5, 1.0, 2.0, 3.0])
    devices = [
        Device(
            f"d{k}",
            draw(number) * 2e8,
            active_w=draw(number) * 10,
            speed=1,
            intensity_g_per_kwh=draw(number) * 100,
        )
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
        ready_s = state.now_s + state.transfer_s(task, d.name)
        return max(ready_s, d.free_at_s(state.now_s)) + float(d.seconds[task.stage] or 0)

    def grams(d: DeviceState) -> float:
        return state.carbon_g(task, d)

    if name in ("green", "performance", "balanced"):
        w = cached(name).weights
        able = [d for d in able if _has_room(task, d)]
        best = max(able, default=None, key=lambda d: (_score(w, scores(task, d)), -d.index))
        return None if best is None else best.name
    if name == "normalized":
        able = [d for d in able if _has_room(task, d)]
        return scaled_best(cached(name).weights, [(d, scores(task, d)) for d in able])
    if name == "constrained":
        left_s = task.deadline_s - state.work[task.stage].after_s - state.now_s
        in_time = [d for d in able if done_s(d) <= state.now_s + left_s / (1 + cached(name).margin)]
        able = sorted(in_time, key=lambda d: (grams(d), d.in_flight > 0))[:1] or able
        name = "fastest"
    keys: dict[str, Any] = {
        "fastest": lambda d: (done_s(d), d.in_flight > 0),
        "greenest": grams,
        "least_loaded": lambda d: d.backlog_s,
    }
    best = min(able, default=None, key=keys[name])
    return None if best is None else best.name


def _has_room(task: Task, d: DeviceState) -> bool:
    return d.load <= 0.8 and task.cpu_need <= d.cpu_free and task.memory_need_bytes <= d.memory_free_bytes


def _score(w: Any, s: Any) -> float:
    return float(w[0] * s[0] + w[1] * s[1] + w[2] * s[2] + w[3] * s[3] + w[4] * s[4])


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


@pytest.fixture(scope="module", params=[0, 3, FEW])
def few(request: pytest.FixtureRequest) -> Iterator[int]:
    """Most devices at which schedulers look one by one: 0: all rankings are used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.execution.fleet_state.FEW", request.param)
        yield request.param


@pytest.mark.parametrize("name", DECIDING)
@settings(max_examples=100, deadline=None)
@given(situation=situations())
def test_contract(
    name: str, few: int, situation: tuple[Fleet, list[StageDeployment], list[tuple[Any, ...]]]
) -> None:
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
