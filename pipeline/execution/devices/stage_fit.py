"""Measured times -> times of layers, of starting a stage, and of codecs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CLOCK_S = 1e-9
"""The least time that the clock tells."""
Seconds = Sequence[float]


def split_times(
    layer_s: Sequence[Seconds], whole_s: Seconds, parts_s: Sequence[Seconds], bounds: Sequence[int]
) -> tuple[npt.NDArray[np.float64], float]:
    """CPU seconds of each layer, and of starting a stage: with one start they add up to the whole model.

    layer_s: passes x layers, run one by one; whole_s: passes; parts_s: passes x parts, which lie between
    bounds. Medians over passes. n parts start n - 1 times more often than the whole, so a start costs
    (parts - whole) / (n - 1). What a part takes beyond its start its layers share (`_within`).
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
    """Layers as they were run one by one -> as they are in a stage that takes `total` beyond its start.

    A layer on its own costs a call, which a stage of many does not: each loses the same share of what their
    sum is over the total, and what rounding at zero leaves is scaled away.
    """
    call = max(0.0, (layers.sum() - total) / len(layers))
    left = np.maximum(layers - call, 0.0)
    left = left if left.sum() > 0 else np.ones_like(left)
    return np.asarray(left * (total / left.sum()))


def fit_line(sizes: Sequence[float], seconds: Seconds) -> tuple[float, float]:
    """a, b >= 0 of seconds = a + b * size, by least squares of relative errors."""
    measured = np.maximum(np.asarray(seconds, dtype=float), CLOCK_S)
    constant, slope = 1 / measured, np.asarray(sizes, dtype=float) / measured
    # Minimise |a * constant + b * slope - 1|². Where the best line has a negative part, the best of those
    # without one lies on the border: a = 0 or b = 0.
    a, b = np.linalg.lstsq(np.stack([constant, slope], axis=1), np.ones_like(measured), rcond=None)[0]
    if min(a, b) < 0:
        flat, steep = constant.sum() / (constant @ constant), slope.sum() / (slope @ slope)
        is_flat = ((flat * constant - 1) ** 2).sum() < ((steep * slope - 1) ** 2).sum()
        a, b = (flat, 0.0) if is_flat else (0.0, steep)
    return float(a), float(b)
