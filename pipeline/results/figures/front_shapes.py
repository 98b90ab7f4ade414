"""Shared by all figures of a front: colours, the region of a front, the lengths of error bars. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.planning.pareto import Points, non_dominated, signed
from pipeline.results.front import Front
from pipeline.results.metric_keys import interval_of

GREY, BLUE, ORANGE = "#8C8C8C", "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion, distinct for colour-blind readers too (jfly.uni-koeln.de/color)."""
REGION = "between all best and all worst ends of 95% intervals"
"""Legend of a front's region."""


def best_so_far(front: Front) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Numbers of the trials, ascending, and the first objective's best value up to each: (trials,) each."""
    numbers = trial_numbers(front.trials).sort_values()
    values = front.trials.loc[numbers.index, front.objectives[0]]
    return numbers, values.cummin() if front.directions[0] == "minimize" else values.cummax()


def trial_numbers(trials: pd.DataFrame) -> pd.Series[Any]:
    """Each trial's number: column `number`, or its place in the table where there is none: (trials,)."""
    return trials["number"] if "number" in trials else pd.Series(range(len(trials)), index=trials.index)


def front_region(front: Front) -> NDArray[np.float64] | None:
    """Outline of the region between the fronts of the intervals' best ends and of their worst ends.

    (corners, 2), in the units of the two objectives' keys. Each interval holds its own mean with 95%, not all
    of them together. None where there are no intervals.
    """
    if front.ends is None or not front.member.any():
        return None
    bounds = [ends[non_dominated(ends)] for ends in front.ends]
    worst = np.concatenate(bounds).max(axis=0)
    best_side, worst_side = (_steps(bound[bound[:, 0].argsort()], worst) for bound in bounds)
    return signed(np.concatenate([best_side, worst_side[::-1]]), front.directions)


def _steps(front: Points, worst: Points) -> Points:
    """Corners of the steps of a front that is sorted by its first objective, up to the worst values."""
    xs = np.concatenate([front[:, 0].repeat(2), worst[:1]])
    return np.column_stack([xs, np.concatenate([worst[1:], front[:, 1].repeat(2)])])


def reach(trials: pd.DataFrame, key: str, factor: float) -> dict[str, NDArray[np.float64]] | None:
    """How far a metric's 95% interval reaches `above` and `below` its value, times factor: (trials,) each.

    trials: columns `<key>`, `<key>_lo`, `<key>_hi`. For a value without an interval both are 0; None where
    the columns of the interval are missing.
    """
    interval = interval_of(trials, key)
    if interval is None:
        return None
    low, high = interval
    above = (high - trials[key]).to_numpy(dtype=float) * factor
    below = (trials[key] - low).to_numpy(dtype=float) * factor
    return {"above": np.nan_to_num(above).clip(0), "below": np.nan_to_num(below).clip(0)}
