"""The interactive figure of a front shows every trial, its intervals and its region."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.results.figures.front_figure import front_figure
from tests.results.conftest import CARBON, LATENCY, LESS, RATE


def test_the_figure_of_two_objectives_shows_every_trial_once_and_the_front_as_steps(
    trials: pd.DataFrame,
) -> None:
    before = trials.copy()
    figure = front_figure(trials, [LATENCY, CARBON], LESS)
    others, front, best = figure.data
    assert list(others.x) == [120]
    assert list(others.y) == pytest.approx([4.5])
    assert list(front.x) == [100, 110, 200]
    assert list(front.y) == pytest.approx([6, 4, 3.8])
    assert front.line.shape == "hv"
    assert list(best.x) == [110]
    assert figure.layout.yaxis.title.text == "Carbon per inference (mg), less is better"
    assert figure.layout.title.text == "Pareto front: 3 of 4 trials"
    for part in (
        "cuts: 41",
        "node-green → node-high",
        "green",
        "carbon weight: 0.5",
        "run: a",
        "(mg): 4.000",
    ):
        assert part in front.hovertext[1]
    assert "cuts: none" in front.hovertext[0]
    pd.testing.assert_frame_equal(trials, before)


def test_what_is_maximised_is_sorted_from_its_best(trials: pd.DataFrame) -> None:
    figure = front_figure(trials, [RATE, LATENCY], ["maximize", "minimize"])
    assert list(figure.data[1].y) == [200, 110, 100]
    assert figure.layout.xaxis.title.text == "Inferences per gram, more is better"


def test_intervals_are_drawn_where_they_are_known(trials: pd.DataFrame) -> None:
    trials[f"{CARBON}_lo"] = trials[CARBON] - 0.0001
    trials[f"{CARBON}_hi"] = [np.nan, 1, 0.0063, 0.004, np.nan]
    front = front_figure(trials, [LATENCY, CARBON], LESS).data[1]
    assert list(front.error_y.array) == pytest.approx([0.3, 0, 0.2])
    assert list(front.error_y.arrayminus) == pytest.approx([0.1, 0.1, 0.1])
    assert front.error_x.array is None


def test_the_region_of_a_front_goes_from_its_best_ends_to_its_worst(trials: pd.DataFrame) -> None:
    """Two trials in ms and mg, (100, 6) and (200, 4), each within 10 ms and 1 mg."""
    two = trials.iloc[[2, 3]].assign(**{CARBON: [0.006, 0.004]})
    for key, reach in ((LATENCY, 10), (CARBON, 0.001)):
        two[f"{key}_lo"], two[f"{key}_hi"] = two[key] - reach, two[key] + reach
    region = front_figure(two, [LATENCY, CARBON], LESS).data[3]
    assert region.fill == "toself"
    best = [(90, 7), (90, 5), (190, 5), (190, 3), (210, 3)]
    worst = [(110, 7), (110, 7), (210, 7), (210, 5), (210, 5)]
    corners = np.column_stack([region.x, region.y])
    assert corners == pytest.approx(np.array([*best, *reversed(worst)], dtype=float))
    # of more inferences per gram, the region is the same one upside down
    flipped = two.assign(
        **{RATE: -two[CARBON], f"{RATE}_lo": -two[f"{CARBON}_hi"], f"{RATE}_hi": -two[f"{CARBON}_lo"]}
    )
    region = front_figure(flipped, [LATENCY, RATE], ["minimize", "maximize"]).data[3]
    assert np.column_stack([region.x, -1e3 * region.y]) == pytest.approx(corners)


def test_a_trial_off_the_front_that_may_be_on_it_widens_the_region(trials: pd.DataFrame) -> None:
    two = trials.iloc[[2, 1]].assign(**{CARBON: [0.006, 0.007]})  # 100 ms; 120 ms, dominated
    two[f"{CARBON}_lo"], two[f"{CARBON}_hi"] = [0.006, 0.002], [0.006, 0.008]
    region = front_figure(two, [LATENCY, CARBON], LESS).data[3]
    assert region.y.min() == pytest.approx(2)
    assert front_figure(trials, [LATENCY, CARBON], LESS).data[-1].name == "knee"  # no intervals, no region


def test_the_figure_of_one_objective_is_its_history(trials: pd.DataFrame) -> None:
    so_far, others, best = front_figure(trials, [CARBON], ["minimize"]).data
    assert list(so_far.x) == [0, 1, 2, 3]
    assert list(so_far.y) == pytest.approx([4, 4, 4, 3.8])
    assert list(others.x) == [0, 1, 2]
    assert list(best.x) == [3]
    so_far = front_figure(trials, [LATENCY], ["maximize"]).data[0]
    assert list(so_far.y) == [110, 120, 120, 200, 200]


def test_the_figures_of_three_and_more_objectives(trials: pd.DataFrame) -> None:
    three = [LATENCY, CARBON, "transfer_bytes_per_inf"]
    space = front_figure(trials, three, ["minimize"] * 3).data[1]
    assert space.type == "scatter3d"
    assert list(space.z) == pytest.approx([0, 100, 0])
    sure = trials.assign(**{f"{LATENCY}_lo": trials[LATENCY] - 1, f"{LATENCY}_hi": trials[LATENCY] + 2})
    space = front_figure(sure, three, ["minimize"] * 3).data[1]
    assert set(space.error_x.array) == {2}
    assert set(space.error_x.arrayminus) == {1}
    pairs = front_figure(trials, [*three, RATE], ["minimize"] * 3 + ["maximize"]).data[1]
    assert pairs.type == "splom"
    assert len(pairs.dimensions) == 4
