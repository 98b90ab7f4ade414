"""The trials that count for a sweep's front, repetitions combined, and which are on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.planning import pareto
from pipeline.results import repetition, significance
from pipeline.results.significance import Floats
from pipeline.search.settings import Settings
from pipeline.search.studies.sweep_trial import SweepTrial

COLUMNS = {"scheduler.carbon_weight": "carbon_weight"}
"""Columns of the table of trials whose name differs from the key that varied, by that key."""


def trials_table(trials: Sequence[SweepTrial]) -> pd.DataFrame:
    """One row for each repetition of each trial.

    Columns: `number`, `run_id`, `name`; `repeat` where there are several; the keys that varied; the
    labels of the plan as it ran; the metrics.
    """
    rows = []
    for trial in trials:
        varied = {COLUMNS.get(key, key): value for key, value in trial.point.items()}
        for repeat, result in enumerate(trial.results):
            varied |= {"repeat": repeat} if len(trial.results) > 1 else {}
            identity = {"number": trial.number, "run_id": result.run_id, "name": result.name}
            rows.append({**identity, **varied, **result.labels, **result.metrics})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Findings:
    """The trials that count for a front, repetitions combined, and which configurations are on it."""

    settings: Settings
    dimensions: Sequence[str]
    """All keys that varied."""
    trials: Sequence[SweepTrial]
    """Complete, each objective finite, within the constraints; at least one."""

    @cached_property
    def varied(self) -> list[str]:
        """The keys that varied, without seeds, as columns of the trials."""
        return [COLUMNS.get(key, key) for key in self._compared_keys]

    @property
    def _compared_keys(self) -> list[str]:
        return [key for key in self.dimensions if key not in repetition.SEEDS]

    @cached_property
    def repeated(self) -> bool:
        """Whether some trials differ by their seeds alone."""
        return self.settings.repeats > 1 or len(self.varied) < len(self.dimensions)

    @cached_property
    def each(self) -> pd.DataFrame:
        """A row for each repetition; columns as in `trials_table`."""
        each = trials_table(self.trials)
        if self.repeated or self.settings.baseline:  # the values of the config, not the labels of the plan
            asked = [trial.point for trial in self.trials for _ in trial.results]
            each[self.varied] = [[point.get(key, "–") for key in self._compared_keys] for point in asked]
        return each

    @cached_property
    def means(self) -> pd.DataFrame:
        """A row for each configuration; where repeated, means and the ends of their intervals."""
        return repetition.grouped(self.each, self.varied) if self.repeated else self.each

    @cached_property
    def costs(self) -> pareto.Points:
        """The objectives of `means`, minimised: a row for each of its rows, a column for each objective."""
        values = self.means[[*self.settings.objectives]].to_numpy(dtype=float)
        return pareto.signed(values, self.directions)

    @property
    def directions(self) -> list[str]:
        """The directions of the objectives, in their order."""
        return [*self.settings.objectives.values()]

    @cached_property
    def on_front(self) -> NDArray[np.bool_]:
        """Whether each row of `means` is on the front: (rows,)."""
        return pareto.non_dominated(self.costs)

    @cached_property
    def repetitions(self) -> Floats | None:
        """The costs of each repetition: (repetitions, rows of `means`, objectives); None without several."""
        if not (self.repeated and self.varied):
            return None
        costs = repetition.aligned(self.each, self.varied, self.settings.objectives)
        return costs if len(costs) > 1 else None

    @cached_property
    def confident(self) -> NDArray[np.bool_]:
        """Whether repetitions show beyond chance that each row of `means` is on the front: (rows,)."""
        shown = self.repetitions is not None and significance.on_front(self.repetitions)
        return self.on_front & shown

    def runs(self, chosen: NDArray[np.bool_]) -> set[str]:
        """The ids of the runs of the chosen rows of `means`; chosen: (rows,)."""
        rows = self.means[chosen]
        if self.repeated and self.varied:
            rows = self.each.merge(rows[self.varied])
        return set(rows["run_id"])
