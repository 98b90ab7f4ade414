"""Repetitions as one, worked by hand; the decomposition of a saving leaves no residual."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pipeline.carbon.decomposition import EFFECTS
from pipeline.results.repetition import against, aligned, grouped

TRIALS = pd.DataFrame(
    [
        # number, scheduler, load, seed, carbon, energy, ok
        (0, "fastest", 0.3, 0, 2.0, 10.0, 5),
        (1, "fastest", 0.3, 1, 4.0, 10.0, 5),
        (2, "green", 0.3, 0, 1.0, 10.0, 5),
        (3, "green", 0.3, 1, 2.0, 20.0, 5),
        (4, "green", 0.5, 0, 8.0, 10.0, 5),
    ],
    columns=[
        "number", "scheduler", "workload.utilisation", "workload.seed", "carbon_g_per_inf",
        "energy_j_per_inf", "requests_ok",
    ],
)  # fmt: skip
BY = ["scheduler", "workload.utilisation"]
NAN = math.nan


def test_repetitions_are_one_row_with_their_mean() -> None:
    table = grouped(TRIALS.assign(latency_ms_predicted=1.0, latency_ms_predicted_lo=0.5), BY)
    assert table["repeats"].tolist() == [2, 2, 1]
    assert table["number"].tolist() == [0, 2, 4]
    assert table["carbon_g_per_inf"].tolist() == [3.0, 1.5, 8.0]
    # Of two values the standard error is half their distance: 1 and .5; Student's t is 12.706.
    assert table["carbon_g_per_inf_lo"].tolist()[:2] == pytest.approx([3 - 12.706, 1.5 - 6.353], abs=1e-3)
    assert table["carbon_g_per_inf_hi"].tolist()[:2] == pytest.approx([3 + 12.706, 1.5 + 6.353], abs=1e-3)
    assert math.isnan(table["carbon_g_per_inf_lo"][2])
    assert "latency_ms_predicted_lo_lo" not in table


def test_nothing_but_seeds_varies() -> None:
    assert grouped(TRIALS[:2], [])["carbon_g_per_inf"].tolist() == [3.0]


def test_the_same_seeds_are_held_against_each_other() -> None:
    table = against(TRIALS, BY, {"scheduler": "fastest"})
    assert table[BY].to_numpy().tolist() == [["green", 0.3]]  # nothing to hold .5 against
    (row,) = table.to_dict("records")
    # -1 g at seed 0, all of it intensity; -2 g at seed 1, as by hand above: of 3 g on average.
    assert row["change"] == pytest.approx(-1.5 / 3)
    mean = -2 / math.log(1 / 2)
    assert row["energy"] == pytest.approx((0 + mean * math.log(2)) / 2 / 3)
    assert sum(row[effect] for effect in EFFECTS) == pytest.approx(row["change"])
    # The differences are -1/3 and -2/3: ± 12.706 standard errors of 1/6.
    assert (row["change_lo"], row["change_hi"]) == pytest.approx(
        (-0.5 - 12.706 / 6, -0.5 + 12.706 / 6), abs=1e-3
    )
    assert row["pairs"] == 2


def test_without_seeds_there_is_one_of_each() -> None:
    table = against(
        TRIALS[TRIALS["workload.seed"] == 0].drop(columns="workload.seed"), BY, {"scheduler": "fastest"}
    )
    assert table["change"].tolist() == [-0.5]
    assert "change_lo" not in table


def test_a_figure_that_one_repetition_does_not_know_is_the_mean_of_the_others() -> None:
    table = grouped(TRIALS[:2].assign(slo_miss_rate=[math.nan, 0.5]), BY)
    assert table["slo_miss_rate"].tolist() == [0.5]
    assert "slo_miss_rate_lo" not in table


def test_nothing_is_a_share_of_nothing() -> None:
    none = TRIALS.assign(carbon_g_per_inf=0.0, energy_j_per_inf=0.0)
    assert against(none, BY, {"scheduler": "fastest"}).empty


def test_objectives_are_aligned_by_seed() -> None:
    """Maximised objectives are negated; a group that lacks a repetition has NaN there."""
    goals = {"carbon_g_per_inf": "minimize", "energy_j_per_inf": "maximize"}
    found = aligned(TRIALS.iloc[[3, 0, 1, 2, 4]], BY, goals)
    np.testing.assert_array_equal(
        found, [[[2, -20], [4, -10], [NAN, NAN]], [[1, -10], [2, -10], [8, -10]]]
    )  # seed 1, which the table has first, then seed 0; green at .3, fastest at .3, green at .5
    again = aligned(pd.concat([TRIALS[:1], TRIALS[:1]]), [], {"carbon_g_per_inf": "minimize"})
    assert again.tolist() == [[[2.0]], [[2.0]]]


def test_a_pair_without_a_carbon_is_left_out() -> None:
    known = against(TRIALS[TRIALS["workload.seed"] == 0], BY, {"scheduler": "fastest"})
    lost = TRIALS["workload.seed"].ne(0) & TRIALS["scheduler"].ne("fastest")
    trials = TRIALS.assign(carbon_g_per_inf=TRIALS["carbon_g_per_inf"].mask(lost))
    assert against(trials, BY, {"scheduler": "fastest"})["change"].tolist() == known["change"].tolist()
