"""Fit the times of layers, of starting a stage, and of codecs to measured times. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

CLOCK_S = 1e-9
"""Lower limit of measured times, so that no time is 0."""
Seconds = Sequence[float]


def split_times(
    layer_s: Sequence[Seconds], whole_s: Seconds, parts_s: Sequence[Seconds], bounds: Sequence[int]
) -> tuple[npt.NDArray[np.float64], float]:
    """CPU seconds of each layer, (layers,), and of starting a stage; they add up to those of the whole model.

    layer_s: (passes, layers), layers run one by one; whole_s: (passes,), the whole model; parts_s: (passes,
    parts), the stages between bounds. All are reduced to medians over passes. n parts start n - 1 times more
    often than the whole model, so a start costs (parts - whole) / (n - 1). The rest of a part's time is
    divided among its layers (`_within`).
    """
    layers = np.median(np.asarray(layer_s, dtype=float), axis=0)
    whole = float(np.median(whole_s))
    parts = np.asarray(parts_s, dtype=float)
    starts = parts.shape[1] - 1
    task = float(np.median(parts.sum(axis=1)) - whole) / starts if starts else 0.0
    task = min(max(task, 0.0), whole / 2)
    parts_inside = np.maximum(np.median(parts, axis=0) - task, CLOCK_S)
    shares = np.split(layers, bounds[1:-1])
    layers = np.concatenate([_within(*pair) for pair in zip(shares, parts_inside, strict=True)])
    return np.asarray(layers * ((whole - task) / layers.sum())), task


def _within(layers: npt.NDArray[np.float64], total: float) -> npt.NDArray[np.float64]:
    """CPU seconds of layers in a stage that takes `total` without its start, from those run one by one.

    A layer that runs on its own costs a call, which a stage of several layers saves. So the excess of the
    layers' sum over the total is subtracted from the layers in equal parts, but not below 0, and the result
    is scaled to the total.
    """
    call = max(0.0, (layers.sum() - total) / len(layers))
    left = np.maximum(layers - call, 0.0)
    left = left if left.sum() > 0 else np.ones_like(left)
    return np.asarray(left * (total / left.sum()))


def interval_over(groups: Iterable[Seconds]) -> float:
    """Half the width of a 95% interval of the mean of the groups' medians ÷ that mean (Student's t).

    The times of one group resemble each other more than those of two, so their number alone would promise too
    much. Infinite for fewer than 3 groups.
    """
    medians = [float(np.median(seconds)) for seconds in groups]
    if len(medians) < 3:
        return math.inf
    half = stats.t.ppf(0.975, len(medians) - 1) * stats.sem(medians)
    return float(half / np.mean(medians))


def fit_line(sizes: Sequence[float], seconds: Seconds) -> tuple[float, float]:
    """a, b >= 0 of seconds = a + b * size that minimise the squares of the relative errors.

    sizes, seconds: (points,).
    """
    measured = np.maximum(np.asarray(seconds, dtype=float), CLOCK_S)
    # |a + b * size - measured| / measured, with both sides divided by the measured time.
    relative = np.stack([1 / measured, np.asarray(sizes, dtype=float) / measured], axis=1)
    (a, b), _ = optimize.nnls(relative, np.ones_like(measured))
    return float(a), float(b)
