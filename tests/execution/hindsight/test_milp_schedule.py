"""The best schedule against all schedules, for as many tasks as the method is used for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.execution.hindsight.lp_bound import bound_g
from pipeline.execution.hindsight.milp_schedule import MAX_TASKS, best_schedule
from pipeline.execution.hindsight.schedule_problem import Situation, Tasks
from tests.execution.hindsight.conftest import FLEET, WORK

HERE = Situation(WORK, FLEET, Intensity.constant({"fast": 500, "clean": 100}))
TAKES_S = (1.0, 2.0)  # 5 mg and 2 mg for a task of ratio 1
GRAMS = (5e-3, 2e-3)


def least_g(found: Tasks, max_late: int) -> float:
    """The least of all choices of devices (or late) for which each device can do its tasks in time."""
    count, timed = len(found), np.isfinite(found.due_s)
    can = [_can_do(found, takes_s) for takes_s in TAKES_S]
    best_g = math.inf
    for places in itertools.product((0, 1, None), repeat=count):
        sets = [sum(1 << t for t, place in enumerate(places) if place == d) for d in (0, 1)]
        late = sum(place is None and timed[t] for t, place in enumerate(places))
        if late > max_late or not all(can[d][sets[d]] < math.inf for d in (0, 1)):
            continue
        grams = [GRAMS[1 if place is None else place] * found.ratio[t] for t, place in enumerate(places)]
        best_g = min(best_g, sum(grams))
    return best_g


def _can_do(found: Tasks, takes_s: float) -> list[float]:
    """(sets of tasks,): the earliest time at which one device has done a set, each in time; else infinity.

    The last of the set follows the others, which are best done as early as possible.
    """
    done_s = [0.0]
    for members in range(1, 1 << len(found)):
        best_s = math.inf
        for t in range(len(found)):
            if members >> t & 1:
                end_s = max(done_s[members ^ 1 << t], found.release_s[t]) + takes_s * found.ratio[t]
                best_s = min(best_s, end_s if end_s <= found.due_s[t] + 1e-9 else math.inf)
        done_s.append(best_s)
    return done_s


def drawn(seed: int, count: int) -> tuple[Tasks, int]:
    random = np.random.default_rng(seed)
    release_s = random.integers(0, 9, count) / 2
    window_s = random.choice([1.0, 1.5, 2.5, 4.0, 6.0, math.inf], count)
    ratio = random.choice([0.5, 1.0, 1.5], count)
    request = np.arange(count)
    found = Tasks(request, np.zeros_like(request), ratio, release_s, release_s + window_s, window_s)
    return found, int(random.integers(0, 3))


def check(seed: int, count: int) -> None:
    found, late = drawn(seed, count)
    expected = least_g(found, late)
    assert best_schedule(found, HERE, late)[0] == pytest.approx(expected)
    if expected < math.inf:
        assert bound_g(found, HERE, late) <= expected * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_the_schedule_is_the_best_of_all(seed: int) -> None:
    check(seed, 1 + seed % 6)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(24))
def test_so_it_is_for_the_most_tasks(seed: int) -> None:
    check(100 + seed, MAX_TASKS - seed % 2)
