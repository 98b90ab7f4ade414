"""Latencies in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.results.latencies import MAX_EXACT, Latencies


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
