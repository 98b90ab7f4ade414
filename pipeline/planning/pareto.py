"""Pareto fronts: dominance, hypervolume, knee. Pure; every objective is minimised (see `signed`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.domain.checks import require

Points = NDArray[np.float64]
"""(points, objectives), in the objectives' units."""


def signed(values: ArrayLike, directions: Sequence[str]) -> Points:
    """The values with maximised objectives negated, so that less is better throughout: (points, objectives).

    Raises ConfigError for a direction other than `minimize` and `maximize`.
    """
    for direction in directions:
        require(
            direction in ("minimize", "maximize"),
            f"directions must be minimize or maximize (directions: {list(directions)})",
        )
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    negated: Points = np.asarray(values, dtype=float) * signs
    return negated


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """(points,): whether no other of the points (points, objectives) dominates a point.

    A point dominates another if it is nowhere worse and somewhere better. All copies of a point of the front
    are on the front; a point with NaN or infinity never is.
    """
    rows = np.asarray(points, dtype=float)
    mask = _finite(rows)
    mask[mask] = moocore.is_nondominated(rows[mask], keep_weakly=True)
    return mask


def reference_point(points: ArrayLike, margin: float = 0.1) -> Points:
    """(objectives,): the worst finite value of each objective, plus `margin` × its absolute value.

    For the usual positive objectives that is worst × 1.1, so that a front's extremes count too. Two
    hypervolumes can be compared only if both used the same reference.
    """
    rows = np.asarray(points, dtype=float)
    worst: Points = rows[_finite(rows)].max(axis=0)
    return worst + margin * np.abs(worst)


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume between the front and the reference point, in the product of the objectives' units.

    points: (points, objectives). Points that are not better than the reference (objectives,) in every
    objective, and points with NaN, add nothing.
    """
    rows = np.asarray(points, dtype=float)
    return float(moocore.hypervolume(rows[_finite(rows)], ref=np.asarray(reference, dtype=float)))


def knee(points: ArrayLike) -> int:
    """The row of the knee of the points (points, objectives): the best compromise without preferences.

    I. Das, "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection",
    Structural Optimization 18 (1999): the front point farthest below the plane through the extremes.

    1. Scale each objective so that the front spans [0, 1].
    2. The extremes of two objectives are then (0, 1) and (1, 0), and a point's distance below their
       chord is (1 - x - y) / √2; so the knee has the smallest sum. With more objectives the plane is
       the one through the unit points, where the sum is 1 as well. Of equal points the first is chosen.

    Where no point lies below the chord (see `has_knee`), the nearest to it is chosen: an end, or one on it.
    """
    front, sums = _scaled_sums(np.asarray(points, dtype=float))
    return int(front[sums.argmin()])


def has_knee(points: ArrayLike) -> bool:
    """Whether a point of the front of the points (points, objectives) lies below its chord (see `knee`)."""
    _, sums = _scaled_sums(np.asarray(points, dtype=float))
    return bool(sums.min() < 1 - 1e-9)


def _scaled_sums(rows: Points) -> tuple[NDArray[np.int64], Points]:
    """The rows of the front, and the sum of each one's objectives, scaled so that the front spans [0, 1]."""
    front = np.flatnonzero(non_dominated(rows))
    best, worst = rows[front].min(axis=0), rows[front].max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    sums: Points = ((rows[front] - best) / span).sum(axis=1)
    return front, sums


def spread(points: ArrayLike, most: int) -> list[int]:
    """Rows of at most `most` points that represent a front (points, objectives), ascending.

    First the knee, then each objective's best, then one at a time the row that has the most rows between
    itself and the nearest chosen row.
    """
    rows = np.asarray(points, dtype=float)
    taken = list(dict.fromkeys([knee(rows), *map(int, rows.argmin(axis=0))]))[:most]
    while len(taken) < min(most, len(rows)):
        gaps = np.abs(np.arange(len(rows))[:, None] - taken).min(axis=1)
        taken.append(int(gaps.argmax()))
    return sorted(taken)


def _finite(rows: Points) -> NDArray[np.bool_]:
    return cast("NDArray[np.bool_]", np.isfinite(rows).all(axis=1))
