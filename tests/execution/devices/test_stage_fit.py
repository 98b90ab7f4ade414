"""The fits: layers and a start add up to the whole model, and no time is negative."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.devices.stage_fit import fit_line, interval_over, split_times


def test_starts_and_calls_are_told_apart_from_layers() -> None:
    # Medians: layers 3, 5, 2, 2; the whole 11; two parts 7 and 5, so a start costs 12 - 11 = 1 and the layers
    # of the parts have 6 and 4. One by one they took 8, so that a call costs 1 there, and 4.
    layer_s = [[3, 5, 2, 2], [1, 9, 2, 9], [4, 2, 1, 1]]
    layers, task = split_times(layer_s, [11, 11, 30], [[7, 5], [6, 6], [9, 5]], [0, 2, 4])
    assert layers.tolist() == [2, 4, 2, 2]
    assert task == 1


def test_no_time_is_below_nothing() -> None:
    # Two parts took less than the whole: no cost of a start. A call of the second part costs (5.5 - 3) / 2 =
    # 1.25, more than its first layer: 0, 3.75 scaled to 3; and all of them from 5 to the whole's 6.
    layers, task = split_times([[5, 0.5, 5]], [6], [[2, 3]], [0, 1, 3])
    assert layers.tolist() == pytest.approx([2.4, 0, 3.6])
    assert task == 0
    layers, _ = split_times([[0, 0]], [6], [[6]], [0, 2])  # too quick for the clock one by one
    assert layers.tolist() == [3, 3]


def test_a_line_by_hand() -> None:
    assert fit_line([100, 200, 400], [3, 4, 6]) == pytest.approx((2, 0.01))
    assert fit_line([100, 400], [4, 2]) == pytest.approx(
        (0.75 / 0.3125, 0)
    )  # falling: relative least squares
    assert fit_line([100, 300], [1, 5]) == pytest.approx((0, 160 / (100**2 + 60**2)))  # below 0 at size 0
    a, b = fit_line([500], [2])
    assert a + 500 * b == pytest.approx(2)


def closed_form(sizes: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Least squares of the relative errors; if negative in a or b, the better of a = 0 and b = 0."""
    constant, slope = 1 / seconds, sizes / seconds
    a, b = np.linalg.lstsq(np.stack([constant, slope], axis=1), np.ones_like(seconds), rcond=None)[0]
    if min(a, b) < 0:
        flat, steep = constant.sum() / (constant @ constant), slope.sum() / (slope @ slope)
        is_flat = ((flat * constant - 1) ** 2).sum() < ((steep * slope - 1) ** 2).sum()
        return (flat, 0.0) if is_flat else (0.0, steep)
    return float(a), float(b)


@given(
    sizes=st.lists(st.integers(1, 10**7), min_size=2, max_size=5, unique_by=lambda size: size.bit_length()),
    relative=st.lists(st.floats(0.1, 10), min_size=5, max_size=5),
    start_s=st.floats(1e-6, 1e-3),
)
def test_the_fit_is_the_closed_form(sizes: list[int], relative: list[float], start_s: float) -> None:
    """To 1e-9 of each fitted time; two sizes at least, since one has many best lines."""
    size = np.array(sizes, dtype=float)
    seconds = (start_s + 1e-9 * size) * relative[: len(sizes)]
    (a, b), (expected_a, expected_b) = fit_line(size.tolist(), seconds.tolist()), closed_form(size, seconds)
    np.testing.assert_allclose(a + b * size, expected_a + expected_b * size, rtol=1e-9)


TIMES = st.floats(1e-6, 1)


@given(
    points=st.lists(st.tuples(st.floats(1, 1e7), st.floats(1e-6, 1)), min_size=1, max_size=5),
)
def test_no_line_goes_below_nothing(points: list[tuple[float, float]]) -> None:
    assert min(fit_line(*zip(*points, strict=True))) >= 0


@given(
    parts=st.lists(st.tuples(TIMES, st.lists(TIMES, min_size=1, max_size=10)), min_size=1, max_size=4),
    whole=TIMES,
)
def test_layers_and_one_start_add_up_to_the_whole(
    parts: list[tuple[float, list[float]]], whole: float
) -> None:
    layers = [layer for _, own in parts for layer in own]
    bounds = [0, *itertools.accumulate(len(own) for _, own in parts)]
    result, task = split_times([layers], [whole], [[taken for taken, _ in parts]], bounds)
    assert result.sum() + task == pytest.approx(whole)
    assert (result >= 0).all()
    assert task >= 0


def test_an_interval_counts_groups_and_not_their_times() -> None:
    # Medians 2, 3, 4: mean 3, standard error 1 / sqrt(3), and t(97.5%, 2 degrees) = 4.3027.
    groups = [[1.0, 2.0, 9.0], [3.0] * 1000, [4.0, 4.0]]
    assert interval_over(groups) == pytest.approx(4.3027 / 3**0.5 / 3, rel=1e-4)
    assert interval_over(groups[:2]) == math.inf
