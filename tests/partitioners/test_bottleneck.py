"""The smallest largest stage, by hand and by brute force."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from partitioners.bottleneck import Bottleneck
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.plan import Plan
from pipeline.planning.cost import predict
from tests.conftest import MakeProblem, stage_s
from tests.partitioners.conftest import (
    board,
    need_bytes,
)


@pytest.mark.parametrize(
    ("speeds", "stages", "bounds", "slowest_ms"),
    [  # layers of 1 to 6 ms, a start .5 ms
        ((1.0, 1.0, 1.0), None, (0, 3, 5, 6), 4 + 5 + 0.5),  # 6 | 9 | 6; any other has 10 or more in a stage
        ((1.0, 1.0, 1.0), 2, (0, 4, 6), 5 + 6 + 0.5),  # 10 | 11; a layer later 15 | 6, earlier 6 | 15
        ((1.0, 0.5), None, (0, 5, 6), 15 + 0.5),  # 15.5 | 2 * 6.5; a layer earlier 10.5 | 2 * 11.5
        # 9 | 20.5; a layer later 21 | 18.5, which would be the better but for the starts: 18 | 18
        ((1 / 6, 1.0), None, (0, 1, 6), 20 + 0.5),
    ],
)
def test_bottleneck_by_hand(
    speeds: tuple[float, ...],
    stages: int | None,
    bounds: tuple[int, ...],
    slowest_ms: float,
    make_problem: MakeProblem,
) -> None:
    devices = tuple(replace(board(f"d{i}"), speed=speed) for i, speed in enumerate(speeds))
    problem = make_problem(Fleet("boards", devices, (Link("lan", 1e8),)))
    plan = Bottleneck(stages).partition(problem)
    assert plan == Plan(bounds, tuple(f"d{i}" for i in range(len(bounds) - 1)))
    assert predict(problem, [plan]).period_s[0] == pytest.approx(slowest_ms / 1e3)


@pytest.mark.parametrize("seed", range(10))
def test_bottleneck_is_the_least_of_all_chains(seed: int, make_problem: MakeProblem) -> None:
    rng = np.random.default_rng(seed)
    devices = tuple(
        replace(board(f"d{i}", float(rng.choice([14e3, 1e9]))), speed=float(rng.uniform(0.2, 2)))
        for i in range(3)
    )
    problem = make_problem(Fleet("three", devices, (Link("lan", 1e8),)))
    names = [device.name for device in devices]
    best_s = np.inf
    for cuts in combinations(range(1, 6), 2):
        plan = Plan((0, *cuts, 6), tuple(names))
        if all(need_bytes(problem, plan, d.name) <= d.memory_bytes for d in devices):
            slowest_s = max(stage_s(problem.profile, name, *plan.stage(k)) for k, name in enumerate(names))
            best_s = min(best_s, slowest_s)
    if np.isinf(best_s):
        with pytest.raises(ConfigError, match="memory_bytes: no 3 stages of tiny fit d0, d1, d2"):
            Bottleneck().partition(problem)
        return
    plan = Bottleneck().partition(problem)
    found_s = max(stage_s(problem.profile, name, *plan.stage(k)) for k, name in enumerate(plan.devices))
    assert plan.devices == tuple(names)
    assert found_s == pytest.approx(best_s)
