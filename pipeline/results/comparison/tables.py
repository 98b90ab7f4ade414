"""The tables of a comparison, for MLflow and for the terminal. Pure."""

from __future__ import annotations

import math

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.carbon.decomposition import EFFECTS, ROUNDING, effects
from pipeline.results.comparison.side import Side
from pipeline.results.units import number


def figures_table(a: Side, b: Side) -> pd.DataFrame:
    """Energy, intensity, carbon and latency per inference: one row a figure.

    Columns: `per inference` (the figure and its unit), a, b, change (b - a), ratio (b ÷ a). NaN: unknown.
    """
    rows = [
        ("energy of devices (J)", a.footprint.energy_j, b.footprint.energy_j),
        ("intensity × PUE (g/kWh)", a.g_per_kwh, b.g_per_kwh),
        ("carbon of devices (g)", a.footprint.operational_g, b.footprint.operational_g),
        ("carbon of links (g)", *(s.footprint.network_g if s.holds("network") else math.nan for s in (a, b))),
        (
            "embodied carbon (g)",
            *(s.footprint.embodied_g if s.holds("embodied") else math.nan for s in (a, b)),
        ),
        ("carbon (g)", a.footprint.total_g, b.footprint.total_g),
        ("mean latency (ms)", a.latency_ms, b.latency_ms),
    ]
    table = pd.DataFrame(rows, columns=["per inference", "a", "b"])
    change = table["b"] - table["a"]
    rounding = change.abs() <= ROUNDING * table[["a", "b"]].abs().max(axis=1)
    return table.assign(
        change=change.mask(rounding, 0.0), ratio=table["b"] / table["a"].where(table["a"] != 0)
    )


def effects_table(a: Side, b: Side) -> pd.DataFrame:
    """One row for each of EFFECTS. Columns: effect, g_per_inf, share_of_a (its carbon), share_of_change."""
    found = effects(a.footprint, b.footprint)
    change_g = b.footprint.total_g - a.footprint.total_g
    return pd.DataFrame(
        {
            "effect": list(EFFECTS),
            "g_per_inf": [found[key] for key in EFFECTS],
            "share_of_a": [_share(found[key], a.footprint.total_g) for key in EFFECTS],
            "share_of_change": [_share(found[key], change_g) for key in EFFECTS],
        }
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def print_comparison(console: Console, a: Side, b: Side, verdict: str) -> None:
    """Print both tables and the verdict."""
    shown = Table("per inference", title=f"B: {b.name}, against A: {a.name}")
    for heading in ("A", "B", "B - A", "B ÷ A"):
        shown.add_column(heading, justify="right")
    for row in figures_table(a, b).to_dict("records"):
        ratio = row["ratio"]
        times = f"×{ratio:.3f}" if math.isfinite(ratio) else "n/a"
        shown.add_row(row["per inference"], *(number(row[key]) for key in ("a", "b", "change")), times)
    console.print(shown)
    why = Table("B - A by", title="Why (LMDI, without a residual)")
    for heading in ("g per inference", "of A's carbon", "of the change"):
        why.add_column(heading, justify="right")
    for row in effects_table(a, b).to_dict("records"):
        shares = (
            f"{row[key]:+.1%}" if math.isfinite(row[key]) else "n/a"
            for key in ("share_of_a", "share_of_change")
        )
        why.add_row(row["effect"], number(row["g_per_inf"]), *shares)
    console.print(why)
    console.print(verdict)
