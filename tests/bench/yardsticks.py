"""Fixed pieces of work, against which the bench measures, and its lines of figure, ratio and limit.

The same host is twice as fast on one day as on another. So every figure is divided by the time of a
yardstick: fixed work of the same kind, taken between the measurements. CPU time leaves out what other
programs do.
"""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

EVENTS = 50_000
STEPS = 20_000
NUMBERS = 1_000_000
_Found = TypeVar("_Found")


def event_s() -> float:
    """CPU seconds of an event in a bare loop over a heap of a thousand: pop one, push one."""
    heap = [(k * 7919 % 10007 / 10, k, None) for k in range(1000)]
    heapq.heapify(heap)
    begin = time.process_time()
    for k in range(EVENTS):
        at_s, _, _ = heapq.heappop(heap)
        heapq.heappush(heap, (at_s + k * 7919 % 10007 / 10, k, None))
    return (time.process_time() - begin) / EVENTS


def step_s() -> float:
    """CPU seconds of a step of Python: two figures from a dict, arithmetic, a comparison, and back."""
    figures = {f"d{k}": (k * 7919 % 10007 / 10, k * 104729 % 10007 / 10) for k in range(1000)}
    names, best = list(figures), 0.0
    begin = time.process_time()
    for k in range(STEPS):
        name = names[k % 1000]
        x, y = figures[name]
        best = max(best, x / (1 + y) + 0.5 * k)
        figures[name] = y, x
    return (time.process_time() - begin) / STEPS


def sort_s() -> float:
    """CPU seconds to sort a million numbers, sum them up and take the running maximum."""
    numbers = np.random.default_rng(0).random(NUMBERS)
    begin = time.process_time()
    numbers = np.sort(numbers)
    np.maximum.accumulate(np.cumsum(numbers) - numbers)
    return time.process_time() - begin


def best_of(
    repeats: int, yardstick: Callable[[], float], run: Callable[[], _Found]
) -> tuple[float, float, _Found]:
    """Least CPU seconds of `run`, their ratio to the yardstick's least, taken in turn; the last result."""
    units, seconds = [], []
    for _ in range(repeats):
        units.append(yardstick())
        begin = time.process_time()
        found = run()
        seconds.append(time.process_time() - begin)
    return min(seconds), min(seconds) / min(units), found


class Lines:
    """The bench's lines; `end` ends the program with exit code 1 if a ratio is beyond its limit."""

    def __init__(self) -> None:
        self._beyond: list[str] = []

    def add(self, what: str, figure: str, ratio: float, unit: str, limit: float = math.inf) -> None:
        """Print a figure and its ratio to a unit, and note a ratio above its limit; infinity: no limit."""
        bound = "no limit" if limit == math.inf else f"at most {limit:g}"
        print(f"{what:<74} {figure:>12} = {ratio:8.3g} {unit}, {bound}", flush=True)
        if ratio > limit:
            self._beyond.append(f"{what}: {bound} {unit}, found {ratio:.3g}")

    def end(self) -> None:
        """Name the figures beyond their limits, one a line, and exit."""
        for line in self._beyond:
            print(f"beyond its limit: {line}", file=sys.stderr)
        sys.exit(1 if self._beyond else 0)
