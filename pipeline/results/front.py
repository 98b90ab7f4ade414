"""A sweep's trials and which of them are on the front, in tables for people and for MLflow. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.planning.pareto import Points, knee, non_dominated, signed, spread
from pipeline.results.metric_table import METRICS
from pipeline.results.tables import HEADLINE, LOST, scaled, spanned
from pipeline.results.units import PLAN, number, readable, text

ENDS = ("_lo", "_hi")
"""Of a metric's key: the ends of its 95% interval."""
NOTED = 20
"""Plans of a front that a note lists; MLflow keeps 8,000 characters of one."""


@dataclass(frozen=True)
class Front:
    """Trials that gave every objective, and which of them are on the front."""

    trials: pd.DataFrame
    objectives: Sequence[str]
    directions: Sequence[str]
    costs: Points
    """Objectives, minimised: one row a trial."""
    member: NDArray[np.bool_]

    @classmethod
    def of(cls, trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> Front:
        """From a table of trials, of which some may lack an objective."""
        trials = trials.reindex(columns=list(dict.fromkeys([*trials.columns, *objectives])))
        values = trials[list(objectives)].to_numpy(dtype=float)
        done = np.isfinite(values).all(axis=1)
        costs = signed(values[done], directions)
        return cls(trials[done], tuple(objectives), tuple(directions), costs, non_dominated(costs))

    @property
    def members(self) -> pd.DataFrame:
        """The front, best in the first objective first; column `knee` marks the best compromise.

        In this order a line that first goes along the first objective's axis, then along the second's
        (`hv`), bounds what the front dominates, whatever the directions.
        """
        best = [knee(self.costs)] if len(self.costs) else []
        marked = self.trials.assign(knee=np.isin(np.arange(len(self.trials)), best))
        return marked[self.member].sort_values(
            list(self.objectives), ascending=[way == "minimize" for way in self.directions]
        )

    def distinct(self, varied: Sequence[str] = ()) -> pd.DataFrame:
        """Of the members that are alike in plan, scheduler, what else varied and objectives, the first.

        Column `alike` says how many they are, `knee` whether the knee is among them. A simulated sweep comes
        to the same plan, and to the same figures, again and again.
        """
        members = self.members.assign(alike=1)
        if not {"cuts", "devices"} <= {*members}:
            return members
        told = dict.fromkeys(("cuts", "devices", "scheduler", *varied, *self.objectives))
        told_by = [column for column in told if column in members and column != "carbon_weight"]
        knees = members.groupby(told_by, sort=False, dropna=False)["knee"]
        members = members.assign(alike=knees.transform("size"), knee=knees.transform("any"))
        return members[~members.duplicated(told_by)]

    @property
    def others(self) -> pd.DataFrame:
        """The trials that another one dominates."""
        return self.trials[~self.member]

    @property
    def ends(self) -> tuple[Points, Points] | None:
        """The costs at the best and at the worst ends of the trials' intervals; None where none has any.

        An objective without an interval is taken as it is.
        """
        known = [key for key in self.objectives if all(f"{key}{end}" in self.trials for end in ENDS)]
        if not known:
            return None
        filled = self.trials.assign(
            **{
                f"{key}{end}": self.trials[f"{key}{end}"].fillna(self.trials[key])
                if key in known
                else self.trials[key]
                for key in self.objectives
                for end in ENDS
            }
        )
        found = [
            signed(filled[[f"{key}{end}" for key in self.objectives]].to_numpy(dtype=float), self.directions)
            for end in ENDS
        ]
        return np.minimum(*found), np.maximum(*found)

    @property
    def title(self) -> str:
        """How many of how many."""
        if len(self.objectives) == 1:
            return f"Best of {len(self.trials)} trials"
        return f"Pareto front: {self.member.sum()} of {len(self.trials)} trials"

    def axis(self, index: int) -> tuple[str, float]:
        """Title of an objective's axis, and the factor from its key's unit to the unit shown there."""
        key = self.objectives[index]
        title, factor = readable(key, self.trials[key])
        return f"{title}, {'less' if self.directions[index] == 'minimize' else 'more'} is better", factor


def front_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    directions: Sequence[str],
    varied: Sequence[str] = (),
) -> pd.DataFrame:
    """The plans on the front, best in the first objective first, in the units of the metric keys.

    Columns, where known: what tells a plan apart, what else was varied, the objectives, the headline
    metrics, each with the ends of its interval where it has one, and where some trial missed or rejected
    any, how many; where trials are alike (`Front.distinct`), of how many a row is; `knee` marks the best
    compromise.
    """
    front = Front.of(trials, objectives, directions)
    lost = [key for key in LOST if key in front.trials and (front.trials[key] > 0).any()]
    figures = dict.fromkeys([*objectives, *HEADLINE, *lost])
    ends = [f"{key}{end}" for key in figures for end in ENDS]
    wanted = dict.fromkeys(["number", *PLAN, *varied, *figures, *ends])
    members = front.distinct(varied)
    last = [*(["alike"] if (members["alike"] > 1).any() else []), "knee"]
    return members[[column for column in wanted if column in members] + last].reset_index(drop=True)


def front_note(front: Front, pages: Mapping[str, str]) -> str:
    """The front as a Markdown table of at most NOTED plans; pages: of the runs in the UI, by run id."""
    members = front.distinct()
    costs = signed(members[[*front.objectives]].to_numpy(dtype=float), front.directions)
    chosen = members.iloc[spread(costs, NOTED)] if len(members) else members
    scales = [(*readable(key, front.trials[key]), key) for key in front.objectives]
    lines = [["", "plan", *(title for title, _, _ in scales)], ["---"] * (2 + len(scales))]
    for row in chosen.to_dict("records"):
        page = pages.get(row["run_id"])
        name = f"trial {row['number']} · {row['name']}".replace("|", "/")
        figures = [number(row[key] * factor) for _, factor, key in scales]
        lines.append(["◆" if row["knee"] else "", f"[{name}]({page})" if page else name, *figures])
    of = f" ({len(chosen)} of {len(members)} plans)" if len(chosen) < len(members) else ""
    return "\n".join(
        [
            f"**The front**{of}; ◆ is the knee, the best compromise",
            "",
            *map("| {} |".format, map(" | ".join, lines)),
        ]
    )


def _weighed(row: Mapping[Any, Any]) -> Any:
    """The carbon weight in three digits; a dash where no scheduler was asked."""
    weight = row["carbon_weight"]
    if row.get("scheduler") == "pinned":
        return "–"
    return f"{weight:.3g}" if isinstance(weight, float) and math.isfinite(weight) else weight


def print_front(console: Console, table: pd.DataFrame) -> None:
    """Print a front_table for people: units of fitting size, the knee marked."""
    if table.empty:
        console.print("No trial gave every objective: there is no front.")
        return
    columns = list(map(str, table))
    ends = [f"{key}{end}" for key in METRICS for end in ENDS]
    known = [
        column
        for column in columns
        if column in ("number", *PLAN) or column not in (*METRICS, *ends, "alike", "knee")
    ]
    always = {"cuts", "devices", "number" if "number" in known else "name"}
    chosen = [column for column in known if column in ("scheduler", "carbon_weight") or column not in PLAN]
    varied = {column for column in chosen if len(set(table[column])) > 1}
    plan = [column for column in known if column in always | varied]
    metrics = [column for column in columns if column not in (*known, *ends, "alike", "knee")]
    scales = [readable(key, table[key]) for key in metrics]
    alike = "alike" in table
    of = f"{len(table)} plans, of {table['alike'].sum()} trials" if alike else str(len(table))
    shown = Table(title=f"Pareto front ({of})", caption="◆ knee: the best compromise")
    shown.add_column()
    for column in plan:
        shown.add_column("trial" if column == "number" else PLAN.get(column, column.rpartition(".")[2]))
    for title in [*(title for title, _ in scales), *(["trials alike"] if alike else [])]:
        shown.add_column(title, justify="right")
    for row in table.to_dict("records"):
        shown.add_row(
            "◆" if row["knee"] else "",
            *[text(_weighed(row) if column == "carbon_weight" else row[column]) for column in plan],
            *[
                spanned(row, key, partial(scaled, factor))
                for key, (_, factor) in zip(metrics, scales, strict=True)
            ],
            *([str(row["alike"])] if alike else []),
        )
    console.print(shown)
