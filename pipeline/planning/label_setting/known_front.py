"""The objectives of known plans, against which the bounds of partial plans are compared. Pure."""

from __future__ import annotations

import numpy as np

from pipeline.planning.cost import Floats
from pipeline.planning.label_setting.rules import Bools


class KnownFront:
    """Objectives of known plans, which prune labels whose lower bounds they equal or beat.

    In two objectives the known plans form a staircase, and a plan that none of them equals or beats lies
    below one of its inner corners (Przybylski and Gandibleux, "Multi-objective branch and bound", EJOR 260,
    2017). So a label is kept if one corner is above its lower bounds in each objective and in each weighted
    sum.

    values: (plans, objectives); blends: (weighted sums, objectives), the weights.
    """

    def __init__(self, values: Floats, blends: Floats) -> None:
        self._values = values
        if values.shape[1] == 2:
            order = np.lexsort(values.T[::-1])
            first, second = values[order].T
            self._corners = np.stack([np.append(first, np.inf), np.insert(second, 0, np.inf)])
            with np.errstate(invalid="ignore"):
                self._blends = np.nan_to_num(blends @ self._corners, nan=np.inf, posinf=np.inf)

    def beats(self, hopes: Floats, blends: Floats) -> Bools:
        """(labels,): whether no completion of a label can improve on the known plans.

        hopes, blends: lower bounds of its completions, (labels, objectives) and (labels, weighted sums).
        """
        if not len(self._values):
            return np.zeros(len(hopes), dtype=bool)
        if hopes.shape[1] != 2:
            beaten: Bools = np.any(np.all(self._values[None] <= hopes[:, None], axis=2), axis=1)
            return beaten
        # By the first objective, the corners above a bound are those from `start` on; by the second, those
        # before `stop`.
        first, second = self._corners
        start = np.searchsorted(first, hopes[:, 0], side="right")
        stop = len(second) - np.searchsorted(second[::-1], hopes[:, 1], side="right")
        beaten = np.ones(len(hopes), dtype=bool)
        rows = np.flatnonzero(stop > start)
        corners = np.arange(len(first))
        inside = (corners >= start[rows, None]) & (corners < stop[rows, None])
        row, corner = np.nonzero(inside)
        hopeful = (self._blends[:, corner] > blends[rows[row]].T).all(axis=0)
        beaten[rows[row[hopeful]]] = False
        return beaten
