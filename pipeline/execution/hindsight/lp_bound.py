"""A lower bound on the carbon of any schedule of a run's tasks, by linear programming. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.execution.hindsight.linear_program import LinearProgram
from pipeline.execution.hindsight.lp_blocks import Block
from pipeline.execution.hindsight.schedule_problem import Situation, Tasks

GAP = 1e-3
"""Relative gap allowed between the bound and that at the best price of a late request."""


def bound_g(tasks: Tasks, where: Situation, max_late: int) -> float:
    """A lower bound on the grams of any schedule of the tasks with at most max_late late requests.

    The relaxation is a `LinearProgram`. A price on late requests replaces their limit (Lagrangian
    relaxation), so that the program decomposes into blocks of time. At any price the optimum minus price *
    max_late is a bound; the best price gives the highest.
    """
    if not len(tasks):
        return 0.0
    program = LinearProgram.of(tasks, where)
    free = np.isinf(tasks.due_s)
    stage, slot = tasks.stage[free], (tasks.release_s[free] / program.step_s).astype(np.int64)
    free_g = program.whenever_g[stage, slot] * tasks.ratio[free]
    free_g += where.least_moving_g.min(axis=1)[stage]
    return float(free_g.sum()) + _priced(program.blocks, max_late)


def _priced(blocks: Sequence[Block], max_late: int) -> float:
    """The highest bound over all prices of a late request, up to GAP, from tangents of a concave function."""

    def at(price_g: float) -> tuple[float, float, float]:
        """The price, its bound, and the slope of the bound there."""
        solved = [block.solve(price_g) for block in blocks]
        slope = sum(num for _, num in solved) - max_late
        return price_g, sum(grams for grams, _ in solved) - price_g * max_late, slope

    if not blocks:
        return 0.0
    low = at(0.0)
    high = low
    price_g = max(float(block.cost_g.max() / block.late.max()) for block in blocks)
    while high[2] > 0 and high[0] < 1e3 * price_g:
        low, high = high, at(max(price_g, 4 * high[0]))
    best = max(low[1], high[1])
    while low[2] > 0 > high[2]:
        meet = (high[1] - high[2] * high[0] - low[1] + low[2] * low[0]) / (low[2] - high[2])
        if low[1] + low[2] * (meet - low[0]) <= best * (1 + GAP):
            break
        found = at(meet)
        best = max(best, found[1])
        low, high = (found, high) if found[2] > 0 else (low, found)
    return best
