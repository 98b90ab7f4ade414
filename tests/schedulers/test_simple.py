"""Schedulers of one rule: round robin, random, pinned, and the earliest completion where tasks are late."""

from __future__ import annotations

import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.tasks import Assign, Refuse
from schedulers.round_robin import RoundRobin
from tests.conftest import configured
from tests.schedulers.conftest import HONEST, TASK, cached, paper_fleet, scheduler, state_of, timed_state


def test_round_robin_takes_turns_among_the_able() -> None:
    state = state_of(paper_fleet(), HONEST, unfit=("node-medium",))
    turns = []
    for _ in range(4):
        decision = RoundRobin().decide(TASK, state)
        assert isinstance(decision, Assign)
        turns.append(decision.device)
        state.begin(TASK, decision.device)
    assert turns == ["node-high", "node-green", "node-high", "node-green"]


def test_random_is_seeded_and_even() -> None:
    state = state_of(paper_fleet(), HONEST)
    seeded = [configured("scheduler", "random", seed=seed) for seed in (0, 0, 1)]
    drawn = [[each.decide(TASK._replace(request=k), state) for k in range(3000)] for each in seeded]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert min(drawn[0].count(Assign(name)) for name in paper_fleet().by_name) > 900


def test_pinned_refuses_what_the_plan_left_open() -> None:
    decision = scheduler("pinned").decide(TASK, timed_state({"d": 1}, Intensity.constant({"d": 1})))
    assert isinstance(decision, Refuse)
    assert "stage 0 is on auto" in decision.reason


@pytest.mark.parametrize("name", ["fastest", "constrained"])
def test_a_device_whose_task_is_late_is_not_idle(name: str) -> None:
    state = timed_state({"d": 10.0, "e": 10.0, "slow": 14.0}, Intensity.constant({"d": 1, "e": 1, "slow": 9}))
    decider, task = cached(name), TASK._replace(deadline_s=100.0)
    state.begin(task, "d")
    for now_s in (0.0, 9.0, 10.0, 12.0):
        state.advance(now_s)
        assert decider.decide(task, state) == Assign("e")
    # d is 2 s late, and expected to take 2 s more; then comes another task of 10 s.
    assert state.devices["d"].free_at_s(12.0) == 14.0
    state.begin(task, "d")
    state.begin(task, "e")
    assert [state.devices[d].free_at_s(12.0) for d in ("d", "e", "slow")] == [24.0, 22.0, 12.0]
    assert cached("fastest").decide(task, state) == Assign("slow")  # at 26 s; e would be done at 32 s
    state.advance(13.0)
    state.end(task, "d", 13.0)
    assert state.devices["d"].free_at_s(13.0) == 23.0
