"""Trials that differ by their seeds alone: means, 95% intervals, paired comparison with a baseline. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects
from pipeline.planning.pareto import Points
from pipeline.results.front import interval_costs
from pipeline.results.metric_keys import interval_keys, interval_of

Floats = npt.NDArray[np.float64]

SEEDS = ("repeat", "workload.seed", "backend.seed", "scheduler.seed", "images.seed")
"""Keys of the config that seed random draws: trials that differ only in these are repetitions."""
RESAMPLES = 10_000
CHANGES = ("change", *EFFECTS)
"""Columns of `against`: the change of carbon and its parts, as shares of the baseline's carbon."""


def interval(values: Floats) -> tuple[Floats, Floats]:
    """Low and high ends of the 95% bootstrap interval of each column's mean: (columns,) each.

    values: (repetitions, columns), at least two repetitions. Percentiles of the means of RESAMPLES draws with
    replacement (Efron, "Bootstrap methods", Annals of Statistics 7, 1979). The interval is too narrow for few
    repetitions, and never exceeds their range. `scipy.stats.bootstrap` draws the same resamples from the same
    seed, but sums them in another order, so that the last digit differs, and takes twice as long.
    """
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    weights = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(values)) / len(values)
    low, high = np.percentile(weights @ values, [2.5, 97.5], axis=0)
    return low, high


def p_value(differences: Floats) -> float:
    """Two-sided p-value of the mean of paired differences: (pairs,).

    Fisher's randomisation test: the share of sign combinations whose mean is at least as far from 0. All
    combinations for up to 16 pairs, RESAMPLES random ones beyond. For n pairs it is at least 2 ** (1 - n), so
    three pairs cannot show much. `scipy.stats.permutation_test` gives the same for up to 16 pairs; beyond, it
    draws other signs.
    """
    count = len(differences)
    if count <= 16:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (RESAMPLES, count))
    means = np.abs(signs @ differences)
    return float(np.mean(~(means < abs(differences.sum()) * (1 - 1e-9))))  # 1 if a difference is NaN


def ends(groups: pd.DataFrame, objectives: Mapping[str, str]) -> tuple[Points, Points] | None:
    """Best and worst ends of the objectives' intervals, minimised: (groups, objectives) each.

    groups: a table that `grouped` returned. objectives: metric key -> direction. None where any objective of
    any group has no interval: no difference between groups can then be shown to exceed chance.
    """
    found = [interval_of(groups, key) for key in objectives]
    if any(each is None or each[0].isna().any() for each in found):
        return None
    return interval_costs(groups, [*objectives], [*objectives.values()])


def grouped(trials: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for all trials that are equal in the columns `by`.

    trials: one row a trial. Columns of the result: as `trials`, with the mean of each numeric column other
    than `by`, `number` and SEEDS, and the first trial's value of each other column; `repeats`, the number of
    trials; `<column>_lo`, `<column>_hi`, the 95% interval of the mean, where there are several trials and
    each has a value. The ends of intervals that trials have by themselves are not averaged.
    """
    rows = []
    for trials_of_group in _groups(trials, by).values():
        numbers = trials_of_group.select_dtypes("number")
        numbers = numbers.drop(columns=[*by, "number", *SEEDS], errors="ignore")
        numbers = numbers.drop(
            columns=[end for column in numbers for end in interval_keys(str(column))], errors="ignore"
        )
        row: dict[Hashable, Any] = {
            **trials_of_group.iloc[0].to_dict(),
            **numbers.mean().to_dict(),
            "repeats": len(trials_of_group),
        }
        if len(trials_of_group) > 1:
            complete = numbers.dropna(axis=1)
            row.update(_interval_row([*map(str, complete)], complete.to_numpy(dtype=float)))
        rows.append(row)
    return pd.DataFrame(rows)


def against(trials: pd.DataFrame, by: Sequence[str], baseline: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each group of `grouped`: the change of its carbon against the baseline's, and its causes.

    trials: columns `by`, those of SEEDS that varied, and those that `Footprint.of` reads. baseline: values of
    some columns of `by`; the others are the same on both sides. Trials with the same seeds are compared with
    each other, if the carbon of both is known. Columns: `by`; CHANGES, as shares of the baseline's mean
    carbon (the effects add up to `change`); with several repetitions also `_lo` and `_hi` of each, and
    `p_value` of the change. Groups without a counterpart, or whose counterpart emits nothing, are left out.
    """
    groups = _groups(trials, by)
    rows = []
    for key, group in groups.items():
        name = dict(zip(by, key, strict=True))
        counterpart = groups.get(tuple((name | dict(baseline))[column] for column in by))
        if counterpart is None or counterpart is group:
            continue
        pairs = [
            pair
            for pair in _pairs(group, counterpart)
            if all(math.isfinite(row["carbon_g_per_inf"]) for row in pair)
        ]
        if not pairs:
            continue
        level_g = float(np.mean([before["carbon_g_per_inf"] for before, _ in pairs]))
        if level_g <= 0:
            continue
        changes_g = [
            [*effects(Footprint.of(before), Footprint.of(after)).values()] for before, after in pairs
        ]
        shares = np.array(changes_g) / level_g
        shares = np.column_stack([shares.sum(axis=1), shares])
        row = dict(zip(CHANGES, shares.mean(axis=0), strict=True))
        if len(shares) > 1:
            row |= _interval_row(CHANGES, shares) | {"p_value": p_value(shares[:, 0])}
        rows.append({**name, **row})
    return pd.DataFrame(rows)


def _interval_row(keys: Sequence[str], values: Floats) -> dict[str, float]:
    """The ends of the intervals of the columns' means, by their keys."""
    return {
        interval_keys(key)[end]: value
        for end, values_at_end in enumerate(interval(values))
        for key, value in zip(keys, values_at_end, strict=True)
    }


def _pairs(group: pd.DataFrame, counterpart: pd.DataFrame) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
    """Rows of the counterpart and of the group with the same seeds; all combinations where no seed varied."""
    suffix = " of baseline"
    seeds = [column for column in SEEDS if column in group]
    how: dict[str, Any] = {"on": seeds} if seeds else {"how": "cross"}
    return [
        (
            {column: row.get(f"{column}{suffix}", row[column]) for column in group},
            {column: row[column] for column in group},
        )
        for row in group.merge(counterpart, suffixes=("", suffix), **how).to_dict("records")
    ]


def _groups(trials: pd.DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The trials by their values of `by`, in order of appearance."""
    keys = list(zip(*(trials[column] for column in by), strict=True)) if by else [()] * len(trials)
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {key: trials.iloc[rows] for key, rows in places.items()}
