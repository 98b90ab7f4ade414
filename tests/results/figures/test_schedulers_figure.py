"""Schedulers side by side, and the oracle below them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.results.figures.schedulers_figure import schedulers_figure
from tests.results.conftest import CARBON, LATENCY, LESS


def test_schedulers_are_told_apart_and_the_oracle_is_drawn_below_them(trials: pd.DataFrame) -> None:
    """At a regret of .25 a fifth of the computing was too much: of 4 mg, 3 of them computing, .6 mg."""
    trials = trials.assign(
        regret_to_oracle=[0.25, np.nan, 0.0, 1.0, np.nan], carbon_dynamic_g=0.03, requests_ok=10
    )
    figure = schedulers_figure(trials, [LATENCY, CARBON], LESS)
    assert figure is not None
    green, performance, oracle = figure.data
    assert (green.name, performance.name) == ("green", "performance")
    assert list(green.x) == [110, 120, 100]
    assert list(performance.y) == pytest.approx([3.8])  # mg
    assert list(oracle.x) == [110, 100, 200]
    assert list(oracle.y) == pytest.approx([4 - 0.6, 6, 3.8 - 1.5])
    alone = trials[trials["scheduler"] == "green"]
    assert schedulers_figure(alone, [LATENCY, CARBON], LESS) is None
    assert schedulers_figure(trials, [CARBON], LESS) is None
