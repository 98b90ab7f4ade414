"""Plans as arrays: concatenated, and reduced to those that no other dominates. Pure."""

from __future__ import annotations

import moocore
import numpy as np

from pipeline.planning.cost import Floats, Ints, Tables

Plans = tuple[Ints, Ints]
"""Bounds (plans, stages + 1) and device indices (plans, stages), as `Tables.cost` takes them."""
NO_PLANS: Plans = np.zeros((0, 2), dtype=np.int64), np.zeros((0, 1), dtype=np.int64)


def joined(*plans: Plans) -> Plans:
    """Plans concatenated; the shorter ones are padded with empty stages at the end."""
    width = max(where.shape[1] for _, where in plans)
    bounds = [np.pad(b, ((0, 0), (0, width + 1 - b.shape[1])), mode="edge") for b, _ in plans if len(b)]
    wheres = [np.pad(w, ((0, 0), (0, width - w.shape[1]))) for _, w in plans if len(w)]
    if not bounds:
        return np.zeros((0, width + 1), dtype=np.int64), np.zeros((0, width), dtype=np.int64)
    return np.concatenate(bounds), np.concatenate(wheres)


def non_dominated(
    tables: Tables, objectives: tuple[str, ...], bounds: Ints, where: Ints
) -> tuple[Ints, Ints, Floats]:
    """The plans that no other dominates, one for each vector of costs, and these (plans, objectives).

    They are sorted by the first objective. Costs that differ only from the 13th digit on count as equal: the
    order of a sum causes such differences, not the plan.
    """
    cost = tables.cost(bounds, where)
    linked = np.isfinite(cost.latency_s)
    bounds, where, costs = bounds[linked], where[linked], cost.columns(objectives)[linked]
    mantissa, exponent = np.frexp(costs)
    outcomes = np.ldexp(np.round(mantissa, 12), exponent)
    best = (
        np.flatnonzero(moocore.is_nondominated(outcomes, keep_weakly=False)) if len(costs) else np.arange(0)
    )
    best = best[np.lexsort(costs[best].T[::-1])]
    return bounds[best], where[best], costs[best]
