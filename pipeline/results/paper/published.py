"""Published figures, the paper's first of all, and a run's beside them: what the saving consists of."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.energy import J_PER_KWH
from pipeline.results.units import number, scaled_label

COMPARED = ("latency_ms_p50", "carbon_g_per_inf", "inferences_per_g", "energy_j_per_inf")
PUBLISHED = Path(__file__).resolve().parents[3] / "conf" / "published" / "carbonedge.csv"
"""CarbonEdge (arXiv 2603.27420), tables II and IV."""
NEEDED = ("carbon_g_per_inf", "intensity_g_per_kwh")
"""What a published figure must say; its energy is implied: E = C / I."""


def published(path: Path, name: str) -> dict[str, Any]:
    """A row of a file of published figures, with the energy that it implies (`energy_j_per_inf`).

    Raises ConfigError naming file, row and column.
    """
    require(path.is_file(), f"{path}:{name}: no such file")
    try:
        table = pd.read_csv(path, dtype={"name": str})
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: is no CSV file ({str(error).splitlines()[0]})") from error
    missing = [column for column in ("name", *NEEDED) if column not in table]
    require(not missing, f"{path}: has no column {', '.join(missing)}")
    rows = table[table["name"] == name].to_dict("records")
    known = ", ".join(map(str, table["name"]))
    require(len(rows) == 1, f"{path}: has {len(rows)} rows named {name!r} (it has {known})")
    row = {str(key): value for key, value in rows[0].items()}
    for column in NEEDED:
        value = pd.to_numeric(row[column], errors="coerce")
        good = math.isfinite(value) and value > 0
        require(good, f"{path}, {name}: {column} must be a number > 0 ({row[column]})")
        row[column] = float(value)
    for column in ("latency_ms_mean", "inferences_per_g"):
        row[column] = float(pd.to_numeric(row.get(column, math.nan), errors="coerce"))
    return row | {"energy_j_per_inf": row["carbon_g_per_inf"] / row["intensity_g_per_kwh"] * J_PER_KWH}


@functools.cache
def _papers(configuration: str) -> Mapping[str, float]:
    """Table II, MobileNetV2. Its latency is a mean."""
    row = published(PUBLISHED, f"mobilenet_v2 {configuration}")
    return row | {"latency_ms_p50": row["latency_ms_mean"]}


def comparison(monolithic: Mapping[str, float] | None, green: Mapping[str, float] | None) -> pd.DataFrame:
    """This run's metrics beside the paper's: rows (here | paper) x (monolithic | green | ratio).

    Ratio is green ÷ monolithic. With the effective intensity (g/kWh) = carbon ÷ energy of the last
    column, the ratios of carbon = energy x intensity, exactly. What is not known is NaN.
    """
    rows = {}
    for source, before, after in (
        ("here", monolithic, green),
        ("paper", _papers("monolithic"), _papers("CE-Green")),
    ):
        first, second = _compared(before), _compared(after)
        rows[source, "monolithic"], rows[source, "green"] = first, second
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
    """One sentence on what green's saving consists of, from a ratio row of `comparison`."""
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
    else:  # factors multiply, so shares are of logarithms
        share = math.log(energy) / math.log(carbon)
        verdict = f"{share:.0%} of the saving is less energy, {1 - share:.0%} cleaner electricity"
    return (
        f"{change(carbon, 'less', 'more')} carbon ({_times(carbon)}) = "
        f"{change(energy, 'less', 'more')} energy ({_times(energy)}) at "
        f"{change(intensity, 'lower', 'higher')} intensity ({_times(intensity)}): {verdict}."
    )


def print_comparison(console: Console, table: pd.DataFrame) -> None:
    """Print a `comparison` for people, and say what the saving consists of."""
    shown = Table(title="Green beside monolithic, here and in the paper (MobileNetV2)")
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
        console.print(f"[bold]{source.capitalize()}:[/] {saving(rows[source, 'ratio'])}")
    console.print(
        "Effective intensity is carbon ÷ energy: PUE, network and embodied carbon count in it. The paper's "
        "energy is implied by 530 and 380 g/kWh; it states 22.9%, from 189.5 and 245.8 inferences per gram. "
        "Here one run each: on a shared host the energy of equal work differs by some percent.",
        style="dim",
    )


def _times(ratio: float) -> str:
    return f"×{ratio:.3f}" if math.isfinite(ratio) else "n/a"
