"""Fronts of several sweeps side by side: size and hypervolume. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.planning import pareto
from pipeline.results.front import Front
from pipeline.results.units import number


def fronts_table(fronts: Mapping[str, Front]) -> pd.DataFrame:
    """One row a sweep. Columns: sweep (its name), trials, front (trials on it), hypervolume, share (of the
    largest hypervolume). All hypervolumes have the same reference point.
    """
    reference = pareto.reference_point([cost for front in fronts.values() for cost in front.costs])
    rows = [
        (name, len(front.trials), int(front.member.sum()), pareto.hypervolume(front.costs, reference))
        for name, front in fronts.items()
    ]
    table = pd.DataFrame(rows, columns=["sweep", "trials", "front", "hypervolume"])
    return table.assign(share=table["hypervolume"] / table["hypervolume"].max())


def print_fronts(console: Console, title: str, table: pd.DataFrame, left_out: Mapping[str, str]) -> None:
    """Print a `fronts_table`; left_out: why other sweeps are left out, by name."""
    shown = Table("sweep", title=title, title_justify="left")
    for heading in ("trials", "front", "hypervolume, of the largest"):
        shown.add_column(heading, justify="right")
    for row in table.to_dict("records"):
        shown.add_row(row["sweep"], str(row["trials"]), str(row["front"]), number(row["share"]))
    console.print(shown)
    for name, reason in left_out.items():
        console.print(f"left out, as {reason}: {name}")
