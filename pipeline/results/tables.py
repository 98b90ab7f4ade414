"""Tables of a run, and of configurations that are compared, for people. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.carbon.decomposition import EFFECTS
from pipeline.domain.trial_result import TrialResult
from pipeline.results.metric_table import METRICS
from pipeline.results.units import PLAN, number, readable, text

HEADLINE = ("latency_ms_p50", "carbon_g_per_inf", "inferences_per_g")
"""Metrics that a table of plans shows beside the objectives."""
SUMMARY = (
    *HEADLINE, "latency_ms_predicted", "energy_j_per_inf", "top1_agreement",
    "latency_ms_p95", "slo_miss_rate", "regret_to_oracle", "requests_rejected", "requests_failed",
)  # fmt: skip
"""Metrics that a single run shows."""
COMPARED = ("latency_ms_p95", "slo_miss_rate", "requests_rejected", "regret_to_oracle")
"""Metrics that a comparison shows beside the objectives, where they are known."""
LOST = ("slo_miss_rate", "requests_rejected", "requests_failed")
"""Metrics that a front shows where any trial has some: it may be none of its objectives."""
FEW = 5
"""Repetitions below which a bootstrap interval says so."""
SHARES = ("change", *EFFECTS)
"""What sets a configuration apart from the baseline, as shares of the baseline's carbon."""


def summary_table(groups: pd.DataFrame, by: Sequence[str], apart: pd.DataFrame | None) -> pd.DataFrame:
    """A row for each of `repetition.grouped`: what varied, its figures, and what sets it apart (`against`).

    Figures are all metrics that are known, with their intervals where there are any.
    """
    figures = [key for key in METRICS if key in groups]
    ends = [f"{key}{end}" for key in figures for end in ("_lo", "_hi") if f"{key}{end}" in groups]
    table = groups.reindex(columns=[*by, "repeats", *figures, *ends]).fillna({"repeats": 1})
    return table if apart is None or apart.empty else table.merge(apart, on=list(by), how="left")


def print_summary(
    console: Console,
    table: pd.DataFrame,
    by: Sequence[str],
    objectives: Sequence[str],
    baseline: Mapping[str, Any],
) -> None:
    """Print of a summary_table the objectives, those of COMPARED that are known, and what sets rows apart."""
    repeats = int(table["repeats"].max())
    title = f"Mean of {repeats}, and the mean's 95% interval" if repeats > 1 else "Compared"
    if 1 < repeats < FEW:
        title += f" (of fewer than {FEW} it is hardly more than their range)"
    caption = ""
    if "change" in table:
        name = " and ".join(f"{key}={value}" for key, value in baseline.items())
        caption = f"carbon against {name}: its change, and how much of it by what (shares of the baseline's)"
    shown = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for column in by:
        shown.add_column(PLAN.get(column, column))
    figures = [key for key in dict.fromkeys([*objectives, *COMPARED]) if key in table]
    scales = [(key, *readable(key, table[key])) for key in figures]
    for _, heading, _ in scales:
        shown.add_column(heading, justify="right")
    shares = [key for key in SHARES if key in table and table[key].abs().max() > 0]
    for key in shares:
        shown.add_column("carbon" if key == "change" else f"by {key}", justify="right")
    tested = ["p_value"] if "p_value" in table else []
    for _ in tested:
        shown.add_column("p (paired)", justify="right")
    for row in table.sort_values(list(by), kind="stable").to_dict("records"):
        shown.add_row(
            *[text(row[column]) for column in by],
            *[spanned(row, key, partial(scaled, factor)) for key, _, factor in scales],
            *[spanned(row, key, "{:+.1%}".format) for key in shares],
            *[spanned(row, key, "{:.3f}".format) for key in tested],
        )
    console.print(shown)


def print_dominance(console: Console, names: Sequence[str], dominates: npt.NDArray[np.bool_]) -> None:
    """Print in words who dominates whom where intervals lie apart."""
    for name, row in zip(names, dominates, strict=True):
        if row.any():
            beaten = ", ".join(other for other, is_so in zip(names, row, strict=True) if is_so)
            console.print(f"{name} dominates {beaten}: their intervals lie apart", markup=False)


def print_surely(console: Console, names: Sequence[str], surely: npt.NDArray[np.bool_]) -> None:
    """Print in words who is on the front beyond chance."""
    kept = [name for name, is_so in zip(names, surely, strict=True) if is_so]
    said = ", ".join(kept) if kept else "none"
    console.print(f"On the front wherever each value lies in its interval: {said}", markup=False)


def scaled(factor: float, value: float) -> str:
    """A value in the unit that it is shown in."""
    return number(value * factor)


def spanned(row: Mapping[Any, Any], key: str, text: Callable[[float], str]) -> str:
    """A value, its interval below it; a dash where there is none."""
    if not math.isfinite(row[key]):
        return "–"
    low, high = (row.get(f"{key}{end}", math.nan) for end in ("_lo", "_hi"))
    return text(row[key]) + (f"\n{text(low)} to {text(high)}" if math.isfinite(low) else "")


def print_result(console: Console, result: TrialResult) -> None:
    """Print a run for people: its name and headline figures, or what else it found."""
    shown = Table(title=result.name, show_header=False)
    for key in SUMMARY:
        lost = key.startswith("requests_")
        if key in result.metrics and not (lost and not result.metrics[key]):
            title, factor = readable(key, result.metrics[key])
            shown.add_row(title, number(result.metrics[key] * factor))
    if not result.metrics:
        for label, value in result.labels.items():
            shown.add_row(label, value)
    console.print(shown)
    console.print(f"Run {result.run_id}", markup=False)
    if result.boundary:
        console.print(result.boundary, style="dim", markup=False)
