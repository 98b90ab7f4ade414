"""Schedulers without a model: round robin, random, pinned."""

from __future__ import annotations

from pipeline.carbon.intensity import Intensity
from pipeline.domain.tasks import Assign, Refuse
from schedulers.round_robin import RoundRobin
from tests.conftest import configured
from tests.schedulers.conftest import HONEST, TASK, paper_fleet, scheduler, state_of, timed_state


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
