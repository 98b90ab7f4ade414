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
    title = "Means of n repetitions, and their 95% intervals (Student's t)" if repeats > 1 else "Compared"
    caption = ""
    if "change" in table:
        name = " and ".join(f"{key}={value}" for key, value in baseline.items())
        caption = f"carbon against {name}: its change and the parts of it, as shares of the baseline's; "
        caption += "intervals and p are those of the differences, seed by seed"
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
    if repeats > 1:
        shown.add_column("n", justify="right")
    for row in table.sort_values(list(by), kind="stable").to_dict("records"):
        shown.add_row(
            *[text(row[column]) for column in by],
            *[with_interval(row, key, partial(scaled, factor)) for key, _, factor in scales],
            *[with_interval(row, key, "{:+.1%}".format) for key in shares],
            *[with_interval(row, key, "{:.2g}".format) for key in tested],
            *([f"{row['repeats']:.0f}"] if repeats > 1 else []),
        )
    console.print(shown)


def print_dominance(console: Console, names: Sequence[str], dominates: npt.NDArray[np.bool_]) -> None:
    """Print which configurations dominate which others beyond chance.

    dominates: (names, names), as `significance.dominance` returns it.
    """
    for name, row in zip(names, dominates, strict=True):
        if row.any():
            beaten = ", ".join(other for other, is_so in zip(names, row, strict=True) if is_so)
            console.print(f"Beyond chance, {name} dominates {beaten}")


def print_confident(console: Console, names: Sequence[str], confident: npt.NDArray[np.bool_]) -> None:
    """Print which configurations are on the front beyond chance.

    confident: one value a name, as `significance.on_front` returns it.
    """
    kept = [name for name, is_so in zip(names, confident, strict=True) if is_so]
    listed = ", ".join(kept) if kept else "none"
    console.print(f"On the front beyond chance (all of these with 95% confidence): {listed}")
