"""Repetitions as one, worked by hand; the decomposition of a saving leaves no residual."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.carbon.decomposition import EFFECTS
from pipeline.results.repetition import RESAMPLES, against, ends, grouped, interval, p_value

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


def test_repetitions_are_one_row_with_their_mean() -> None:
    table = grouped(TRIALS.assign(latency_ms_predicted=1.0, latency_ms_predicted_lo=0.5), BY)
    assert table["repeats"].tolist() == [2, 2, 1]
    assert table["number"].tolist() == [0, 2, 4]
    assert table["carbon_g_per_inf"].tolist() == [3.0, 1.5, 8.0]
    # Of two values a resample's mean is either of them, or with a chance of a half their mean.
    assert table["carbon_g_per_inf_lo"].tolist()[:2] == [2.0, 1.0]
    assert table["carbon_g_per_inf_hi"].tolist()[:2] == [4.0, 2.0]
    assert math.isnan(table["carbon_g_per_inf_lo"][2])
    assert "latency_ms_predicted_lo_lo" not in table


def test_nothing_but_seeds_varies() -> None:
    assert grouped(TRIALS[:2], [])["carbon_g_per_inf"].tolist() == [3.0]


def test_an_interval_is_that_of_the_mean() -> None:
    """Normal values: about 1.96 standard errors to either side."""
    values = np.random.default_rng(1).normal(5, 2, (400, 1))
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 * 2 / math.sqrt(400), rel=0.1)
    assert low < 5 < high


def test_the_same_seeds_are_held_against_each_other() -> None:
    table = against(TRIALS, BY, {"scheduler": "fastest"})
    assert table[BY].to_numpy().tolist() == [["green", 0.3]]  # nothing to hold .5 against
    (row,) = table.to_dict("records")
    # -1 g at seed 0, all of it intensity; -2 g at seed 1, as by hand above: of 3 g on average.
    assert row["change"] == pytest.approx(-1.5 / 3)
    mean = -2 / math.log(1 / 2)
    assert row["energy"] == pytest.approx((0 + mean * math.log(2)) / 2 / 3)
    assert sum(row[effect] for effect in EFFECTS) == pytest.approx(row["change"])
    assert (row["change_lo"], row["change_hi"]) == pytest.approx((-2 / 3, -1 / 3))


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


def test_a_pair_without_a_carbon_is_left_out_and_is_no_evidence() -> None:
    known = against(TRIALS[TRIALS["workload.seed"] == 0], BY, {"scheduler": "fastest"})
    lost = TRIALS["workload.seed"].ne(0) & TRIALS["scheduler"].ne("fastest")
    trials = TRIALS.assign(carbon_g_per_inf=TRIALS["carbon_g_per_inf"].mask(lost))
    assert against(trials, BY, {"scheduler": "fastest"})["change"].tolist() == known["change"].tolist()
    assert p_value(np.array([1.0, 2.0, 3.0, math.nan])) == 1.0


def test_the_paired_test_by_hand() -> None:
    """Of three pairs all in one direction 2 of 8 signs are as far out; of ten 2 of 1,024."""
    assert p_value(np.array([1.0, 2.0, 3.0])) == 0.25
    assert p_value(np.arange(1.0, 11)) == pytest.approx(2 / 1024)
    assert p_value(np.array([1.0, -1.0])) == 1.0
    assert p_value(np.zeros(3)) == 1.0
    many = np.random.default_rng(0).normal(0.3, 1, 200)
    t = many.mean() / many.std(ddof=1) * math.sqrt(200)
    assert p_value(many) == pytest.approx(math.erfc(abs(t) / math.sqrt(2)), abs=0.002)


@pytest.mark.parametrize("count", [2, 5, 16])
def test_scipy_gives_the_same_interval_and_the_same_p(count: int) -> None:
    values = np.random.default_rng(count).lognormal(0, 1, (count, 7))
    drawn = stats.bootstrap(
        (values,), np.mean, axis=0, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(interval(values), drawn.confidence_interval, rtol=1e-12)
    for differences in (values - 1.2).T:
        tested = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert p_value(differences) == pytest.approx(tested.pvalue, abs=1e-12)


def test_ends_of_what_is_maximised_are_turned_round() -> None:
    columns = {"a": 1.5, "a_lo": 1.0, "a_hi": 2.0, "b": 4.0, "b_lo": 3.0, "b_hi": 5.0}
    groups = pd.DataFrame([columns])
    found = ends(groups, {"a": "minimize", "b": "maximize"})
    assert found is not None
    assert [each.tolist() for each in found] == [[[1.0, -5.0]], [[2.0, -3.0]]]
    assert ends(groups, {"a": "minimize", "c": "minimize"}) is None
    assert ends(groups.assign(a_lo=math.nan), {"a": "minimize"}) is None
