"""Configurations side by side: their metrics with intervals, and why their carbon differs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.results.metric_keys import METRICS, interval_keys
from pipeline.results.repetition import CHANGES
from pipeline.results.units import PLAN, scaled, scaled_label, text, with_interval

COMPARED = ("latency_ms_p95", "slo_miss_rate", "requests_rejected", "regret_to_oracle")
"""Metrics that a comparison shows beside the objectives, where they are known."""
FEW = 5
"""Number of repetitions below which the table warns that a bootstrap interval is narrow."""


def summary_table(groups: pd.DataFrame, by: Sequence[str], changes: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each row of `groups` (from `repetition.grouped`), joined with its row of `changes`.

    Columns: `by` (the keys that varied), `repeats`, every known metric, `<metric>_lo` and `<metric>_hi` where
    there are intervals, and the columns of `changes` (from `repetition.against`), where given.
    """
    figures = [key for key in METRICS if key in groups]
    ends = [end for key in figures for end in interval_keys(key) if end in groups]
    table = groups.reindex(columns=[*by, "repeats", *figures, *ends]).fillna({"repeats": 1})
    return table if changes is None or changes.empty else table.merge(changes, on=list(by), how="left")


def print_summary(
    console: Console,
    table: pd.DataFrame,
    by: Sequence[str],
    objectives: Sequence[str],
    baseline: Mapping[str, Any],
) -> None:
    """Print a `summary_table`: `by`, the objectives, those of COMPARED that are known, the carbon's change.

    baseline: columns and values of the configuration with which the others are compared; empty for none.
    """
    repeats = int(table["repeats"].max())
    title = f"Mean of {repeats}, and the mean's 95% interval" if repeats > 1 else "Compared"
    if 1 < repeats < FEW:
        title += f" (for fewer than {FEW}, hardly more than their range)"
    caption = ""
    if "change" in table:
        name = " and ".join(f"{key}={value}" for key, value in baseline.items())
        caption = f"carbon against {name}: its change and the parts of it, as shares of the baseline's"
    shown = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for column in by:
        shown.add_column(PLAN.get(column, column))
    figures = [key for key in dict.fromkeys([*objectives, *COMPARED]) if key in table]
    scales = [(key, *scaled_label(key, table[key])) for key in figures]
    for _, heading, _ in scales:
        shown.add_column(heading, justify="right")
    shares = [key for key in CHANGES if key in table and table[key].abs().max() > 0]
    for key in shares:
        shown.add_column("carbon" if key == "change" else f"by {key}", justify="right")
    tested = ["p_value"] if "p_value" in table else []
    for _ in tested:
        shown.add_column("p (paired)", justify="right")
    for row in table.sort_values(list(by), kind="stable").to_dict("records"):
        shown.add_row(
            *[text(row[column]) for column in by],
            *[with_interval(row, key, partial(scaled, factor)) for key, _, factor in scales],
            *[with_interval(row, key, "{:+.1%}".format) for key in shares],
            *[with_interval(row, key, "{:.3f}".format) for key in tested],
        )
    console.print(shown)


def print_dominance(console: Console, names: Sequence[str], dominates: npt.NDArray[np.bool_]) -> None:
    """Print which configurations dominate which others, beyond their intervals.

    dominates: (names, names), as `pareto.confident_dominance` returns it.
    """
    for name, row in zip(names, dominates, strict=True):
        if row.any():
            beaten = ", ".join(other for other, is_so in zip(names, row, strict=True) if is_so)
            console.print(f"{name} dominates {beaten}: their intervals do not overlap", markup=False)


def print_confident(console: Console, names: Sequence[str], confident: npt.NDArray[np.bool_]) -> None:
    """Print which configurations are on the front wherever in its interval each value lies.

    confident: one value a name, as `pareto.confident_front` returns it.
    """
    kept = [name for name, is_so in zip(names, confident, strict=True) if is_so]
    listed = ", ".join(kept) if kept else "none"
    console.print(f"On the front wherever each value lies in its interval: {listed}", markup=False)
