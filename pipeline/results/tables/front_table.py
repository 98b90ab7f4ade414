"""The plans on a sweep's front: as a table, as a Markdown note, printed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.planning.pareto import signed, spread
from pipeline.results.front import Front
from pipeline.results.metric_keys import METRICS, interval_keys
from pipeline.results.summary import PINNED
from pipeline.results.units import PLAN, counted, scaled, scaled_label, text, with_interval

HEADLINE = ("latency_ms_p50", "carbon_g_per_inf", "inferences_per_g")
"""Metrics that a table of plans shows beside the objectives."""
LOST = ("slo_miss_rate", "requests_rejected", "requests_failed")
"""Metrics of lost requests: shown beside the objectives where any trial lost some."""
NOTED = 20
"""Largest number of plans in a note; MLflow keeps 8,000 characters of one."""


def front_table(
    trials: pd.DataFrame,
    objectives: Sequence[str],
    directions: Sequence[str],
    varied: Sequence[str] = (),
) -> pd.DataFrame:
    """The plans on the front (`Front.distinct`), best in the first objective first.

    trials: one row a trial, columns as `Front.of` takes them. Columns of the result, where known: `number`,
    those of PLAN, those of `varied`, the objectives, HEADLINE, those of LOST that any trial has above 0;
    the ends of their intervals; `repeats`, the number of repetitions behind them; `alike` (number of equal
    trials) where any is more than 1; `knee`. Metrics are in the units of their keys.
    """
    front = Front.of(trials, objectives, directions)
    lost = [key for key in LOST if key in front.trials and (front.trials[key] > 0).any()]
    figures = dict.fromkeys([*objectives, *HEADLINE, *lost])
    ends = [end for key in figures for end in interval_keys(key)]
    wanted = dict.fromkeys(["number", *PLAN, *varied, *figures, *ends, "repeats"])
    members = front.distinct(varied)
    last = [*(["alike"] if (members["alike"] > 1).any() else []), "knee"]
    return members[[column for column in wanted if column in members] + last].reset_index(drop=True)


def front_note(front: Front, pages: Mapping[str, str]) -> str:
    """The front as a Markdown table of at most NOTED plans.

    front: its trials have the columns `run_id`, `number` and `name`. pages: link to a run's page in
    MLflow, by run id; a run without one is not linked.
    """
    members = front.distinct()
    costs = signed(members[[*front.objectives]].to_numpy(dtype=float), front.directions)
    chosen = members.iloc[spread(costs, NOTED)] if len(members) else members
    scales = [(*scaled_label(key, front.trials[key]), key) for key in front.objectives]
    lines = [["", "plan", *(title for title, _, _ in scales)], ["---"] * (2 + len(scales))]
    for row in chosen.to_dict("records"):
        page = pages.get(row["run_id"])
        name = f"trial {row['number']} · {row['name']}".replace("|", "/")
        figures = [scaled(factor, row[key]) for _, factor, key in scales]
        lines.append(
            ["◆" if row["knee"] and front.mark else "", f"[{name}]({page})" if page else name, *figures]
        )
    of = f" ({len(chosen)} of {len(members)} plans)" if len(chosen) < len(members) else ""
    return "\n".join(
        [
            "; ".join([f"**The front**{of}", *([front.mark] if front.mark else [])]),
            "",
            *map("| {} |".format, map(" | ".join, lines)),
        ]
    )


def print_front(console: Console, table: pd.DataFrame, mark: str) -> None:
    """Print a `front_table`: columns in which its plans differ, and its metrics in units of fitting size.

    mark: what ◆ marks (`Front.mark`); empty: nothing is marked.
    """
    if table.empty:
        console.print("No trial has a value of every objective: there is no front.")
        return
    plan, metrics = _shown_columns(table)
    scales = [scaled_label(key, table[key]) for key in metrics]
    alike = "alike" in table
    repeated = "repeats" in table and table["repeats"].max() > 1
    count = counted(len(table), "plan")
    of = f"{count}, of {counted(int(table['alike'].sum()), 'trial')}" if alike else f"{len(table)}"
    shown = Table(title=f"Pareto front ({of})", caption=mark or None)
    shown.add_column()
    for column in plan:
        shown.add_column("trial" if column == "number" else PLAN.get(column, column.rpartition(".")[2]))
    for title in [
        *(title for title, _ in scales),
        *(["n"] if repeated else []),
        *(["equal trials"] if alike else []),
    ]:
        shown.add_column(title, justify="right")
    for row in table.to_dict("records"):
        shown.add_row(
            "◆" if row["knee"] and mark else "",
            *[text(_weight(row) if column == "carbon_weight" else row[column]) for column in plan],
            *[
                with_interval(row, key, partial(scaled, factor)) if repeated else scaled(factor, row[key])
                for key, (_, factor) in zip(metrics, scales, strict=True)
            ],
            *([f"{row['repeats']:.0f}"] if repeated else []),
            *([str(row["alike"])] if alike else []),
        )
    console.print(shown)


def _shown_columns(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The columns of a `front_table` to print: those that identify or distinguish plans, and metrics."""
    columns = list(map(str, table))
    not_plan = {*METRICS, *(end for key in METRICS for end in interval_keys(key)), "repeats", "alike", "knee"}
    known = [column for column in columns if column in ("number", *PLAN) or column not in not_plan]
    always = {"cuts", "devices", "number" if "number" in known else "name"}
    chosen = [column for column in known if column in ("scheduler", "carbon_weight") or column not in PLAN]
    varied = {column for column in chosen if len(set(table[column])) > 1}
    plan = [column for column in known if column in always | varied]
    return plan, [column for column in columns if column in METRICS and column not in known]


def _weight(row: Mapping[Any, Any]) -> Any:
    """The carbon weight to three digits; a dash where the plan is pinned, so that no scheduler read it."""
    weight = row["carbon_weight"]
    if row.get("scheduler") == PINNED:
        return "–"
    return f"{weight:.3g}" if isinstance(weight, float) and math.isfinite(weight) else weight
