"""Intervals that cover, tests worked by hand, and sweeps in which at most 5% of the statements are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.results.significance import Bools, Floats, dominance, holm, interval, on_front, p_value


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_an_interval_covers_the_mean_in_95_of_100_cases(count: int) -> None:
    low, high = interval(np.random.default_rng(count).normal(5, 2, (count, 40_000)))
    assert np.mean((low <= 5) & (high >= 5)) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("count", [2, 5])
def test_scipy_gives_the_same_interval_and_the_same_p(count: int) -> None:
    values = np.random.default_rng(count).lognormal(0, 1, (count, 7))
    expected = stats.t.interval(0.95, count - 1, values.mean(axis=0), stats.sem(values))
    np.testing.assert_allclose(interval(values), expected, rtol=1e-12)
    for differences in (values - 1.2).T:
        tested = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert p_value(differences) == pytest.approx(tested.pvalue, abs=1e-12)


def test_the_paired_test_by_hand() -> None:
    """Of three pairs all in one direction 2 of 8 signs are as far out; of ten 2 of 1,024."""
    assert p_value(np.array([1.0, 2.0, 3.0])) == 0.25
    assert p_value(np.arange(1.0, 11)) == pytest.approx(2 / 1024)
    assert p_value(np.array([1.0, -1.0])) == 1.0
    assert p_value(np.zeros(3)) == 1.0
    assert p_value(np.array([1.0, 2.0, 3.0, np.nan])) == 1.0
    many = np.random.default_rng(0).normal(0.3, 1, 200)
    t = many.mean() / many.std(ddof=1) * math.sqrt(200)
    assert p_value(many) == pytest.approx(math.erfc(abs(t) / math.sqrt(2)), abs=0.002)


def test_random_signs_never_make_p_0() -> None:
    """None of 10,000 draws is as far out as 40 pairs in one direction: (0 + 1) ÷ (10,000 + 1)."""
    assert p_value(np.ones(40)) == pytest.approx(1 / 10_001)


def test_holm_by_hand() -> None:
    """.05 ÷ 4, ÷ 3 and ÷ 2 bound the smallest three; the third is beyond, and so all after it are kept."""
    assert holm(np.array([0.04, 0.012, 0.016, 0.026])).tolist() == [False, True, True, False]
    assert holm(np.array([])).tolist() == []


def test_what_five_repetitions_settle_by_hand() -> None:
    """a is 10 below b in both objectives, with differences of 9 to 11; c is best in the second only."""
    noise = np.array([-1.0, -0.5, 0, 0.5, 1])
    a, b = np.column_stack([noise, -noise]), np.full((5, 2), 10.0)
    c = np.column_stack([20 + noise, -20 - noise[::-1]])
    costs = np.stack([a, b, c], axis=1)
    assert dominance(costs).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert on_front(costs).tolist() == [True, False, True]
    # t is 10 ÷ (.79 ÷ √5) = 28: p is .000005. Two repetitions of a and b would leave a p of .01 at best.
    assert not dominance(costs[:2]).any()
    assert not on_front(costs[[0, 4]]).any()
    costs[2:, 1] = np.nan  # b lacks repetitions; with two left it cannot be told from a
    assert not dominance(costs).any()


def test_equal_in_every_repetition_is_equal() -> None:
    """Such as the bytes moved: they neither stand in the way of a difference nor are one."""
    carbon = np.array(
        [[1.0, 2.0, 2.0], [1.1, 2.1, 2.1], [1.0, 2.01, 2.01], [1.05, 2.0, 2.0], [1.1, 2.1, 2.1]]
    )
    costs = np.stack([carbon, np.full((5, 3), 7.0)], axis=2)
    assert dominance(costs).tolist() == [[False, True, True], [False] * 3, [False] * 3]
    assert on_front(costs).tolist() == [True, False, False]
    assert on_front(costs[:, 1:]).tolist() == [True, True]
    assert on_front(costs[:, :1]).tolist() == [True]


def by_means(means: Floats) -> tuple[Bools, Bools]:
    """Which truly dominate which, and which are truly on the front."""
    a, b = means[:, None], means[None]
    dominates = np.asarray((a <= b).all(axis=2) & (a < b).any(axis=2))
    return dominates, np.asarray(~dominates.any(axis=0))


@pytest.mark.parametrize("repetitions", [2, 3, 5])
@pytest.mark.parametrize("shared", [0.0, 1.0], ids=["own noise", "shared noise too"])
def test_at_most_one_sweep_in_twenty_states_anything_wrong(repetitions: int, shared: float) -> None:
    random = np.random.default_rng(repetitions)
    wrong = {"dominance": 0, "front": 0}
    for _ in range(300):
        means = random.normal(0, 1, (5, 2))
        means[1] = means[0] + [0, 0.05]  # a near tie, and a tie in one objective
        noise = random.normal(0, 1, (repetitions, 5, 2)) * random.uniform(0.1, 1)
        costs = means + noise + shared * random.normal(0, 1, (repetitions, 1, 2))
        dominates, member = by_means(means)
        wrong["dominance"] += bool((dominance(costs) & ~dominates).any())
        wrong["front"] += bool((on_front(costs) & ~member).any())
    assert max(wrong.values()) <= 0.05 * 300, wrong


@pytest.mark.parametrize("repetitions", [5, 10])
def test_clear_differences_are_found(repetitions: int) -> None:
    """Eight configurations that differ by five standard deviations or more: nearly all is found."""
    random = np.random.default_rng(repetitions)
    trade, slope = np.arange(8.0), np.array([1, -1.0])
    means = np.concatenate([trade[:4, None] * slope, trade[:4, None] * slope + 1.5])
    dominates, member = by_means(means)
    found_dominance, found_front = [], []
    for _ in range(100):
        costs = means + random.normal(0, 0.1, (repetitions, *means.shape))
        found_dominance.append(dominance(costs)[dominates].mean())
        found_front.append(on_front(costs)[member].mean())
    assert np.mean(found_front) > 0.95
    assert np.mean(found_dominance) > 0.75
