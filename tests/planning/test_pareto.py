"""The front against its definition, the hypervolume and the knee against fronts worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipeline.domain.checks import ConfigError
from pipeline.planning.pareto import (
    has_knee,
    hypervolume,
    knee,
    non_dominated,
    reference_point,
    signed,
    spread,
)

# Few distinct values, so that ties and copies are common; NaN and inf as of failed trials.
VALUES = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, float("inf"), float("nan")])
POINTS = st.integers(1, 4).flatmap(
    lambda objectives: arrays(np.float64, st.tuples(st.integers(0, 12), st.just(objectives)), elements=VALUES)
)
BOXES = arrays(np.float64, st.tuples(st.integers(0, 8), st.just(3)), elements=st.integers(0, 4).map(float))


def dominates(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


@given(POINTS)
def test_the_front_is_what_no_row_dominates(points: NDArray[np.float64]) -> None:
    before = points.copy()
    finite = points[np.isfinite(points).all(axis=1)]
    expected = [bool(np.isfinite(p).all()) and not any(dominates(q, p) for q in finite) for p in points]
    assert non_dominated(points).tolist() == expected
    np.testing.assert_array_equal(points, before)


def test_all_copies_of_a_front_point_are_kept_and_nan_never_is() -> None:
    points = np.array([[1, 2], [2, 1], [1, 2], [2, 2], [np.nan, 0]])
    assert non_dominated(points).tolist() == [True, True, True, False, False]


@given(BOXES)
def test_hypervolume_counts_the_dominated_unit_cubes(points: NDArray[np.float64]) -> None:
    before = points.copy()
    corners = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    dominated = sum(any(np.all(point <= corner) for point in points) for corner in corners)
    assert hypervolume(points, [4, 4, 4]) == pytest.approx(dominated)
    np.testing.assert_array_equal(points, before)


def test_hypervolume_worked_by_hand() -> None:
    # y 4 +-------R    (1, 3) covers 3 x 1, (2, 1) covers 2 x 3, and they share 2 x 1:
    #   3 | a##       3 + 6 - 2 = 7. (3, 3.5) is dominated and (5, 0) is beyond the reference R.
    #   1 |   b##
    points = np.array([[1, 3], [2, 1], [3, 3.5], [5, 0], [np.nan, 0]])
    assert hypervolume(points, [4, 4]) == pytest.approx(7)
    assert hypervolume(np.empty((0, 2)), [4, 4]) == 0


def test_the_reference_is_worse_than_every_point_also_where_an_objective_is_maximised() -> None:
    trials = signed(np.array([[100, 5], [200, 10], [np.nan, 1], [np.inf, 1]]), ["minimize", "maximize"])
    assert reference_point(trials) == pytest.approx([220, -4.5])


def test_the_knee_is_farthest_below_the_chord_whatever_the_units() -> None:
    # Scaled: (0, 1), (.2, .3), (.6, .1), (1, 0): sums 1, .5, .7, 1. The last row is dominated.
    points = np.array([[0, 1], [0.2, 0.3], [0.6, 0.1], [1, 0], [0.9, 0.9]])
    before = points.copy()
    assert knee(points) == 1
    assert knee(points * [250, 1e-3] + [100, 7]) == 1
    np.testing.assert_array_equal(points, before)


def test_a_front_of_one_point_is_its_own_knee() -> None:
    assert knee(np.array([[np.nan, 0], [2, 2], [1, 1]])) == 2


def test_a_knee_lies_below_the_chord() -> None:
    """Scaled sums: 1, .9, 1; then 1, 1.1, 1, whose ends are nearest to the chord; then all on it."""
    assert has_knee(np.array([[0, 1], [0.4, 0.5], [1, 0]]))
    assert not has_knee(np.array([[0, 1], [0.5, 0.6], [1, 0]]))
    assert knee(np.array([[0.5, 0.6], [0, 1], [1, 0]])) == 1
    assert not has_knee(np.array([[0, 1], [0.1, 0.9], [0.7, 0.3], [1, 0]]))
    assert has_knee(np.array([[0, 1, 1], [0.3, 0.3, 0.3], [1, 0, 1], [1, 1, 0]]))


def test_a_spread_holds_the_knee_and_both_ends_and_then_fills_the_widest_gap() -> None:
    # Scaled sums of the rows: 1, .6, .5, ... so the knee is row 2; then 0 and 10, then 6 halfway to 10.
    points = np.array([[x, (10 - x) ** 4 / 1000] for x in range(11)], dtype=float)
    points[2] = [2, 0.5]
    points[3:, 1] = np.linspace(0.4, 0, 8)
    assert knee(points) == 2
    assert spread(points, 1) == [2]
    assert spread(points, 3) == [0, 2, 10]
    assert spread(points, 4) == [0, 2, 6, 10]
    assert spread(points, 99) == list(range(11))


def test_signed_negates_what_is_maximised_and_refuses_other_words() -> None:
    values = np.array([[1.0, 2.0]])
    assert signed(values, ["minimize", "maximize"]).tolist() == [[1, -2]]
    assert values.tolist() == [[1, 2]]
    with pytest.raises(ConfigError, match="minimize or maximize"):
        signed(values, ["min", "maximize"])
