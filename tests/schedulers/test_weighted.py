"""Algorithm 1 against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.tasks import Assign, Refuse, Wait
from pipeline.execution.device_state import HISTORY
from schedulers.weighted import Scores, scores
from tests.schedulers.conftest import EQUAL, HONEST, TASK, paper_fleet, scheduler, state_of


def test_the_five_scores_by_hand() -> None:
    device = Device("d", memory_bytes=200e6, active_w=72.0, cpu_quota=0.5, intensity_g_per_kwh=500)
    state = state_of(Fleet("f", (device,)), {"d": 0.25})
    d = state.devices["d"]
    idle = Scores(*scores(TASK, d))
    assert (idle.resource, idle.load, idle.balance) == (1.0, 1.0, 1.0)
    assert idle.performance == pytest.approx(1 / 1.25)
    # 72 W * 250 ms / 3 600 000 = 0.005 Wh; * 500 g = 2.5
    assert idle.carbon == pytest.approx(1 / 3.5)

    state.begin(TASK, "d")
    state.begin(TASK._replace(cpu_need=0.35, memory_need_bytes=25e6), "d")
    busy = Scores(*scores(TASK, d))
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


@pytest.mark.parametrize(
    ("key", "value"), [("carbon_weight", 1.2), ("resource_weight", -0.1), ("mode_carbon_weight", "much")]
)
def test_weights_outside_0_to_1_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"scheduler.*{key}"):
        replace(scheduler("green"), **{key: value})
