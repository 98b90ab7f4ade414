"""Trials that differ by their seeds alone, as one: means, 95% intervals, and what sets two apart. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects

Floats = npt.NDArray[np.float64]

SEEDS = ("repeat", "workload.seed", "backend.seed", "scheduler.seed", "images.seed")
"""Keys of the config that change nothing but chance: trials that differ by these alone are repetitions."""
RESAMPLES = 10_000


def interval(values: Floats) -> tuple[Floats, Floats]:
    """The ends of the 95% bootstrap interval of each column's mean; rows are repetitions, at least two.

    Percentiles of the means of RESAMPLES draws with replacement (Efron, "Bootstrap methods", Annals of
    Statistics 7, 1979). Of few repetitions it is too narrow; it never leaves their range.
    """
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    weights = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(values)) / len(values)
    low, high = np.percentile(weights @ values, [2.5, 97.5], axis=0)
    return low, high


def p_value(differences: Floats) -> float:
    """How often a mean difference at least as large comes of pairs that differ by chance alone (two-sided).

    The exact test of paired samples over all signs (Fisher's randomisation test), for up to 16 pairs; for
    more over RESAMPLES random signs. Of n pairs it is at least 2 ** (1 - n): three cannot show much.
    """
    count = len(differences)
    if count <= 16:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (RESAMPLES, count))
    means = np.abs(signs @ differences)
    return float(np.mean(means >= abs(differences.sum()) * (1 - 1e-9)))


def ends(groups: pd.DataFrame, objectives: Mapping[str, str]) -> tuple[Floats, Floats] | None:
    """Low and high ends of each objective's interval, one row a group, minimised; None where one has none.

    objectives: metric and direction, as a sweep has them.
    """
    low, high = [], []
    for key, direction in objectives.items():
        if f"{key}_lo" not in groups or groups[f"{key}_lo"].isna().any():
            return None
        own = [groups[f"{key}{end}"].to_numpy(dtype=float) for end in ("_lo", "_hi")]
        if direction == "maximize":
            own = [-own[1], -own[0]]
        low.append(own[0])
        high.append(own[1])
    return np.stack(low, axis=1), np.stack(high, axis=1)


def grouped(trials: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for all trials that are alike in `by`: the mean of each figure, what else the first one has.

    `repeats` says how many there are, and `<figure>_lo`, `<figure>_hi` bound the mean where they are several;
    the ends of an interval that a trial has by itself are no figures.
    """
    rows = []
    for own in _alike(trials, by).values():
        numbers = own.select_dtypes("number").drop(columns=[*by, "number", *SEEDS], errors="ignore")
        ends = [f"{column}{end}" for column in numbers for end in ("_lo", "_hi")]
        numbers = numbers.drop(columns=ends, errors="ignore")
        row: dict[Hashable, Any] = {**own.iloc[0].to_dict(), **numbers.mean().to_dict(), "repeats": len(own)}
        figures = numbers.dropna(axis=1)  # one that some do not know has no interval
        if len(own) > 1:
            for end, values in zip(("_lo", "_hi"), interval(figures.to_numpy(dtype=float)), strict=True):
                row |= {f"{column}{end}": value for column, value in zip(figures, values, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


def against(trials: pd.DataFrame, by: Sequence[str], baseline: Mapping[str, Any]) -> pd.DataFrame:
    """What sets each group of `grouped` apart from the baseline, as shares of the baseline's carbon.

    baseline: values of some of `by`; what it does not name is the same on both sides. Trials of the same
    seeds are held against each other. Columns: `by`, `change`, and EFFECTS, which add up to it, each with
    `_lo` and `_hi` where there are several repetitions, and then the `p_value` of the change. Groups without
    a counterpart, or with one that emits nothing, are left out.
    """
    groups = _alike(trials, by)
    rows = []
    for key, own in groups.items():
        name = dict(zip(by, key, strict=True))
        other = groups.get(tuple((name | dict(baseline))[column] for column in by))
        if other is None or other is own:
            continue
        seeds = [column for column in SEEDS if column in trials]
        pairs = own.merge(other, on=seeds, suffixes=("", " of baseline")) if seeds else None
        pairs = own.merge(other, how="cross", suffixes=("", " of baseline")) if pairs is None else pairs
        both = [
            (
                {column: row[column] for column in own},
                {column: row.get(f"{column} of baseline", row[column]) for column in own},
            )
            for row in pairs.to_dict("records")
        ]
        if not both:
            continue
        level_g = float(np.mean([before["carbon_g_per_inf"] for _, before in both]))
        if level_g <= 0:
            continue
        shares = (
            np.array(
                [list(effects(Footprint.of(before), Footprint.of(after)).values()) for after, before in both]
            )
            / level_g
        )
        shares = np.column_stack([shares.sum(axis=1), shares])
        row = dict(zip(("change", *EFFECTS), shares.mean(axis=0), strict=True))
        if len(shares) > 1:
            for end, values in zip(("_lo", "_hi"), interval(shares), strict=True):
                row |= dict(zip((f"{c}{end}" for c in ("change", *EFFECTS)), values, strict=True))
            row["p_value"] = p_value(shares[:, 0])
        rows.append({**name, **row})
    return pd.DataFrame(rows)


def _alike(trials: pd.DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The trials by their values of `by`, in order of appearance."""
    keys = list(zip(*(trials[column] for column in by), strict=True)) if by else [()] * len(trials)
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {key: trials.iloc[rows] for key, rows in places.items()}
