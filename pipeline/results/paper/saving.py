"""The saving of one configuration against another, here and as published, and its parts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.carbon.decomposition import Footprint, effects
from pipeline.domain.energy import J_PER_KWH
from pipeline.results.paper.published import Metrics
from pipeline.results.units import number, scaled_label

COMPARED = ("latency_ms_p50", "carbon_g_per_inf", "inferences_per_g", "energy_j_per_inf")
"""Metrics that are shown side by side."""


def comparison(
    here: Mapping[str, Metrics | None], paper: Mapping[str, Metrics] | None = None
) -> pd.DataFrame:
    """Two configurations' metrics here, beside the published: rows (here | paper) x (the two names | ratio).

    here, paper: metrics by name, the base first. Columns: COMPARED, and intensity_g_per_kwh, the effective
    intensity = carbon ÷ energy. Ratio is second ÷ base, so that the ratio of carbon = that of energy x that
    of intensity, exactly. NaN: unknown.
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for source, pair in (("here", here), *([("paper", paper)] if paper else [])):
        own = {name: _compared(metrics) for name, metrics in pair.items()}
        first, second = own.values()
        rows |= {(source, name): row for name, row in own.items()}
        rows[source, "ratio"] = {key: _divide(second[key], first[key]) for key in first}
    table = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows))
    return table.rename_axis(["source", "configuration"])


def _compared(metrics: Mapping[str, float] | None) -> dict[str, float]:
    known = {key: (metrics or {}).get(key) for key in COMPARED}
    row = {key: math.nan if value is None else float(value) for key, value in known.items()}
    return row | {
        "intensity_g_per_kwh": _divide(row["carbon_g_per_inf"], row["energy_j_per_inf"]) * J_PER_KWH
    }


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan


def saving(ratio: Mapping[str, float]) -> str:
    """The saving and its parts, energy and intensity, in one sentence; ratio: that row of a `comparison`."""
    carbon, energy, intensity = (
        ratio[key] for key in ("carbon_g_per_inf", "energy_j_per_inf", "intensity_g_per_kwh")
    )
    if not all(map(math.isfinite, (carbon, energy, intensity))):
        return "n/a: carbon and energy of both configurations are needed."

    def change(factor: float, less: str, more: str) -> str:
        return f"{abs(1 - factor):.1%} {less if factor < 1 else more}"

    if carbon >= 1:
        verdict = "there is no saving"
    elif energy >= 1:
        verdict = "all of the saving is cleaner electricity, none is less energy"
    elif intensity >= 1:
        verdict = "all of the saving is less energy, none is cleaner electricity"
    else:
        share = effects(Footprint(1.0, 1.0), Footprint(energy, carbon))["energy"] / (carbon - 1)
        verdict = f"{share:.0%} of the saving is less energy, {1 - share:.0%} cleaner electricity"
    return (
        f"{change(carbon, 'less', 'more')} carbon ({_times(carbon)}) = "
        f"{change(energy, 'less', 'more')} energy ({_times(energy)}) at "
        f"{change(intensity, 'lower', 'higher')} intensity ({_times(intensity)}): {verdict}."
    )


def print_comparison(console: Console, table: pd.DataFrame) -> None:
    """Print a `comparison` with published figures, and a sentence on the parts of each saving."""
    base, other = dict.fromkeys(name for _, name in table.index if name != "ratio")
    shown = Table(title=f"{other.capitalize()} beside {base}, here and in the paper (MobileNetV2)")
    shown.add_column("per inference")
    for source, configuration in table.index:
        shown.add_column(f"{source}\n{configuration}", justify="right")
    rows = cast("dict[tuple[str, str], dict[str, float]]", table.to_dict("index"))
    for key in map(str, table.columns):
        plain = [row[key] for (_, configuration), row in rows.items() if configuration != "ratio"]
        title, factor = scaled_label(key, plain) if key in COMPARED else ("Effective intensity (g/kWh)", 1.0)
        shown.add_row(
            title,
            *[
                _times(row[key]) if configuration == "ratio" else number(row[key] * factor)
                for (_, configuration), row in rows.items()
            ],
        )
    console.print(shown)
    for source in ("here", "paper"):
        console.print(f"{source.capitalize()}: {saving(rows[source, 'ratio'])}")
    console.print(
        "Effective intensity is carbon ÷ energy, and includes PUE, network and embodied carbon. The paper's "
        "energy is implied by 530 and 380 g/kWh; it states 22.9%, from 189.5 and 245.8 inferences per gram. "
        "Here one run each: on a shared host the energy of equal work differs by some percent.",
        style="dim",
    )


def _times(ratio: float) -> str:
    return f"×{ratio:.3f}" if math.isfinite(ratio) else "n/a"
