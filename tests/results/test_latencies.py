"""Latencies in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.results.latencies import MAX_EXACT, ClassTotals, Latencies


def test_many_latencies_are_counted_in_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_EXACT a percentile is off by half a bin at most, and the mean is still exact."""
    drawn_s = np.random.default_rng(2).lognormal(-3, 1, 30_000)
    exact, counted = Latencies(), Latencies()
    exact.add(drawn_s)
    assert len(drawn_s) < MAX_EXACT
    monkeypatch.setattr("pipeline.results.latencies.MAX_EXACT", 5_000)
    for block_s in np.split(drawn_s, 10):
        counted.add(block_s)
    assert counted.count == exact.count == 30_000
    assert counted.sum_s == pytest.approx(exact.sum_s)
    for percent in (1, 50, 95, 99):
        assert exact.percentile_s(percent) == np.percentile(drawn_s, percent)
        assert counted.percentile_s(percent) == pytest.approx(exact.percentile_s(percent), rel=2e-3)
        assert counted.percentile_s(percent) != exact.percentile_s(percent)


def ordered(count: int) -> Latencies:
    """Latencies of 1, 2, ... seconds."""
    latencies = Latencies()
    latencies.add(np.random.default_rng(0).permutation(np.arange(1.0, count + 1)))
    return latencies


def test_the_interval_of_a_percentile_by_hand() -> None:
    """Of ten values 2 to 8 lie below the median with a chance of 1 - 2 * 11 ÷ 1,024: from the 2nd to the 9th.

    With a chance of .99 ** 368 = .0247 all of 368 lie below the 99th percentile; of 367 with one of .025.
    """
    assert ordered(10).percentile_interval_s(50) == (2, 9)
    assert ordered(5).percentile_interval_s(50) is None
    assert ordered(6).percentile_interval_s(50) == (1, 6)
    assert ordered(367).percentile_interval_s(99) is None
    low, high = ordered(368).percentile_interval_s(99) or (0, 0)
    assert (low, high) == (360, 368)  # at most 359 lie below it with a chance of .013
    totals = ClassTotals()
    totals.latencies = ordered(10)
    assert totals.latency_intervals() == {"latency_ms_p50_lo": 2000, "latency_ms_p50_hi": 9000}


@pytest.mark.parametrize(("count", "percent"), [(10, 50), (50, 50), (100, 95), (400, 99)])
def test_the_interval_covers_the_percentile_of_any_distribution(count: int, percent: int) -> None:
    random, covered = np.random.default_rng(count), 0
    wanted_s = np.exp(1.5 * {50: 0.0, 95: 1.6448536, 99: 2.3263479}[percent])
    for _ in range(2_000):
        latencies = Latencies()
        latencies.add(random.lognormal(0, 1.5, count))
        low, high = latencies.percentile_interval_s(percent) or (np.inf, -np.inf)
        covered += low <= wanted_s <= high
    assert covered >= 0.94 * 2_000


def test_the_interval_of_counted_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_s = np.random.default_rng(2).lognormal(-3, 1, 3_000)
    exact, counted = Latencies(), Latencies()
    exact.add(drawn_s)
    monkeypatch.setattr("pipeline.results.latencies.MAX_EXACT", 500)
    counted.add(drawn_s)
    assert counted.percentile_interval_s(95) == pytest.approx(exact.percentile_interval_s(95), rel=2e-3)
