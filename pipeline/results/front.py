"""A sweep's trials, and which of them are on the front. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.planning.pareto import Points, has_knee, knee, non_dominated, signed
from pipeline.results.metric_keys import interval_of
from pipeline.results.units import scaled_label

KNEE = "◆ knee: the best compromise"
NO_KNEE = "◆ no knee: no plan lies below the line through the front's ends; this one is nearest to it"


@dataclass(frozen=True)
class Front:
    """Trials with a value of every objective, and which of them are on the front."""

    trials: pd.DataFrame
    """One row a trial; columns: the objectives, and any others."""
    objectives: Sequence[str]
    """Columns that are compared: metric keys."""
    directions: Sequence[str]
    """`minimize` or `maximize`, for each objective."""
    costs: Points
    """Objectives, minimised: (trials, objectives)."""
    member: NDArray[np.bool_]
    """Whether each trial is on the front: (trials,)."""

    @classmethod
    def of(cls, trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> Front:
        """The front of a table of trials.

        trials: one row a trial; trials without a finite value of each objective are left out. Columns: the
        objectives; optional ones: those of `units.PLAN`, `number`, `repeats`, `<objective>_lo`,
        `<objective>_hi`.
        Raises ConfigError for an unknown direction.
        """
        trials = trials.reindex(columns=list(dict.fromkeys([*trials.columns, *objectives])))
        values = trials[list(objectives)].to_numpy(dtype=float)
        done = np.isfinite(values).all(axis=1)
        costs = signed(values[done], directions)
        return cls(trials[done], tuple(objectives), tuple(directions), costs, non_dominated(costs))

    @property
    def members(self) -> pd.DataFrame:
        """The trials on the front, best in the first objective first.

        Columns as `trials`, and `knee` (bool), true for the plan that `mark` describes. In this order, a step
        line that runs first along the first objective's axis (`hv`) bounds the area that the front dominates,
        for any directions.
        """
        best = [knee(self.costs)] if len(self.costs) else []
        marked = self.trials.assign(knee=np.isin(np.arange(len(self.trials)), best))
        return marked[self.member].sort_values(
            list(self.objectives), ascending=[way == "minimize" for way in self.directions]
        )

    def distinct(self, varied: Sequence[str] = ()) -> pd.DataFrame:
        """The members, with one row for all that are equal in plan, `varied` and objectives.

        The row is that of the first of them. Columns as `members`, and `alike`, the number of equal members;
        `scheduler` names those of all of them, `knee` is true where one of them is the knee. A simulated
        sweep often repeats a plan and its metrics, and schedulers choose what a partitioner pins.
        """
        members = self.members.assign(alike=1)
        if not {"cuts", "devices"} <= {*members}:
            return members
        wanted = dict.fromkeys(("cuts", "devices", *varied, *self.objectives))
        compared = [name for name in wanted if name in members and name not in ("scheduler", "carbon_weight")]
        groups = members.groupby(compared, sort=False, dropna=False)
        joint = {"alike": groups["knee"].transform("size"), "knee": groups["knee"].transform("any")}
        if "scheduler" in members:
            joint["scheduler"] = groups["scheduler"].transform(
                lambda names: ", ".join(map(str, dict.fromkeys(names)))
            )
        return members.assign(**joint)[~members.duplicated(compared)]

    @property
    def mark(self) -> str:
        """What ◆ marks, in words; empty where all members have the same objectives, as nothing is chosen."""
        if len(np.unique(self.costs[self.member], axis=0)) < 2:
            return ""
        return KNEE if has_knee(self.costs) else NO_KNEE

    @property
    def others(self) -> pd.DataFrame:
        """The trials that another one dominates; columns as `trials`."""
        return self.trials[~self.member]

    @property
    def ends(self) -> tuple[Points, Points] | None:
        """The costs at the best and at the worst ends of the trials' intervals: see `interval_costs`."""
        return interval_costs(self.trials, self.objectives, self.directions)

    @property
    def title(self) -> str:
        """The title of a figure: how many of the trials are on the front, and of how many repetitions."""
        counts = sorted({*map(int, self.trials.get("repeats", ()))}) or [1]
        of = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        means = f", means of n = {of}" if counts[-1] > 1 else ""
        if len(self.objectives) == 1:
            return f"Best of {len(self.trials)} trials{means}"
        return f"Pareto front: {self.member.sum()} of {len(self.trials)} trials{means}"

    def axis(self, index: int) -> tuple[str, float]:
        """Title of an objective's axis, and the factor from its key's unit to the unit shown there."""
        key = self.objectives[index]
        title, factor = scaled_label(key, self.trials[key])
        return f"{title}, {'less' if self.directions[index] == 'minimize' else 'more'} is better", factor


def interval_costs(
    trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]
) -> tuple[Points, Points] | None:
    """The costs (`signed`) at the best and at the worst ends of 95% intervals: (trials, objectives) each.

    trials: columns: the objectives, and `<objective>_lo` and `<objective>_hi` of those that have intervals. A
    value without an interval is both of its ends; None where no objective has an interval.
    """
    intervals = [interval_of(trials, key) for key in objectives]
    if all(each is None for each in intervals):
        return None
    filled = [
        [end.fillna(trials[key]) for end in each] if each else [trials[key]] * 2
        for key, each in zip(objectives, intervals, strict=True)
    ]
    low, high = (
        signed(np.column_stack([column.to_numpy(dtype=float) for column in ends]), directions)
        for ends in zip(*filled, strict=True)
    )
    return np.minimum(low, high), np.maximum(low, high)
