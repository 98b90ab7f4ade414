"""The best schedule against all schedules, for as many tasks as the method is used for."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

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


def least_g(
    found: Tasks,
    max_late: int,
    takes: tuple[float, float] = TAKES_S,
    each_g: tuple[float, float] = GRAMS,
) -> float:
    """The least of all choices of devices (or late) for which each device can do its tasks in time."""
    count, timed = len(found), np.isfinite(found.due_s)
    can = [_can_do(found, takes_s) for takes_s in takes]
    best_g = math.inf
    for places in itertools.product((0, 1, None), repeat=count):
        sets = [sum(1 << t for t, place in enumerate(places) if place == d) for d in (0, 1)]
        late = sum(place is None and timed[t] for t, place in enumerate(places))
        if late > max_late or not all(can[d][sets[d]] < math.inf for d in (0, 1)):
            continue
        cleanest = int(np.argmin(each_g))
        grams = [each_g[cleanest if p is None else p] * found.ratio[t] for t, p in enumerate(places)]
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


def _of(takes_s: tuple[float, float], each_g: tuple[float, float]) -> Situation:
    """Two devices, with the seconds and grams of a task on each."""
    work = [replace(WORK[0], seconds=dict(zip(FLEET.by_name, takes_s, strict=True)))]
    g_per_kwh = [g / (36 * s) * 3.6e6 for g, s in zip(each_g, takes_s, strict=True)]
    return Situation(work, FLEET, Intensity.constant(dict(zip(FLEET.by_name, g_per_kwh, strict=True))))


@pytest.mark.parametrize("seed", range(80))
def test_it_emits_the_least_of_all_whatever_the_times(seed: int) -> None:
    """Times that are no multiples of each other: with HiGHS's presolve, seed 43 emits twice the least."""
    random = np.random.default_rng(seed)
    count, (fast_s, slow_s) = int(random.integers(4, 7)), random.uniform(0.005, 0.05, 2).tolist()
    takes_s, each_g = (fast_s, slow_s), (10 ** random.uniform(-6, -3), 10 ** random.uniform(-6, -3))
    release_s = np.sort(random.uniform(0, count * min(takes_s) * 0.7, count))
    window_s = np.where(random.random(count) < 0.15, math.inf, random.uniform(0.8, 3, count) * min(takes_s))
    number = np.arange(count)
    found = Tasks(number, np.zeros_like(number), np.ones(count), release_s, release_s + window_s, window_s)
    for max_late in range(3):
        grams, _ = best_schedule(found, _of(takes_s, each_g), max_late)
        assert grams == pytest.approx(least_g(found, max_late, takes_s, each_g), rel=1e-6)
