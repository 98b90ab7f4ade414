"""Trials that differ by their seeds alone: means, 95% intervals, paired comparison with a baseline. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects
from pipeline.domain.checks import require
from pipeline.domain.number_columns import with_numbers
from pipeline.planning.pareto import signed
from pipeline.results.metric_keys import interval_keys
from pipeline.results.significance import Floats, interval, p_value

SEEDS = ("repeat", "workload.seed", "backend.seed", "scheduler.seed", "images.seed")
"""Keys of the config that seed random draws: trials that differ only in these are repetitions."""
CHANGES = ("change", *EFFECTS)
"""Columns of `against`: the change of carbon and its parts, as shares of the baseline's carbon."""


def aligned(trials: pd.DataFrame, by: Sequence[str], objectives: Mapping[str, str]) -> Floats:
    """The objectives, minimised, by repetition and group: (repetitions, groups, objectives).

    The groups are the rows of `grouped`. Trials with the same seeds are the same repetition; NaN where a
    group lacks one. objectives: metric key -> direction.
    """
    groups = _groups(trials, by)
    places: dict[Hashable, int] = {}
    cells = []
    for number, group in enumerate(groups.values()):
        again: Counter[Hashable] = Counter()
        costs = signed(group[[*objectives]].to_numpy(dtype=float), [*objectives.values()])
        for seeds, row in zip(_keys(group, [key for key in SEEDS if key in group]), costs, strict=True):
            again[seeds] += 1
            cells.append((places.setdefault((seeds, again[seeds]), len(places)), number, row))
    found = np.full((len(places), len(groups), len(objectives)), np.nan)
    for place, number, row in cells:
        found[place, number] = row
    return found


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
    carbon (the effects add up to `change`); with several repetitions also `_lo` and `_hi` of each (of the
    paired differences), `p_value` of the change and `pairs`, their number. Groups without a counterpart, or
    whose counterpart emits nothing, are left out.
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
            row |= _interval_row(CHANGES, shares) | {"p_value": p_value(shares[:, 0]), "pairs": len(shares)}
        rows.append({**name, **row})
    return pd.DataFrame(rows)


def with_comparisons(owner: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table with any of the columns that `grouped` and `against` add, as numbers, NaN where a row has none.

    Raises ConfigError naming owner and column for a value that these never have.
    """
    ends = {key: interval_keys(key) for key in CHANGES}
    counts = ("repeats", "pairs")
    known = [*CHANGES, *(end for both in ends.values() for end in both), "p_value", *counts]
    table = with_numbers(owner, table, [key for key in known if key in table])
    for key in filter(table.__contains__, known):
        values = table[key].dropna()
        low, high = (1.0, 1e9) if key in counts else (0.0, 1.0) if key == "p_value" else (-1e9, 1e9)
        possible = values.between(low, high) & ((values % 1 == 0) | (key not in counts))
        require(bool(possible.all()), f"{owner}: {key} must be from {low:g} to {high:g} in every row")
    for key, (low_end, high_end) in ends.items():
        for below, above in ((low_end, key), (key, high_end)):
            ordered = below not in table or above not in table or not (table[below] > table[above]).any()
            require(ordered, f"{owner}: {above} must be no less than {below} in every row")
    return table


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
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(_keys(trials, by)):
        places.setdefault(key, []).append(place)
    return {key: trials.iloc[rows] for key, rows in places.items()}


def _keys(trials: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of the columns, one tuple a trial."""
    return [*zip(*(trials[column] for column in columns), strict=True)] if columns else [()] * len(trials)
