"""What sets two runs apart, `carbonedge compare A B`: tables, a waterfall, a run of its own. Shell.

A and B are MLflow run ids, or FILE:NAME for a row of published figures (conf/published/carbonedge.csv).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from hydra.utils import instantiate
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.carbon.decomposition import EFFECTS, Footprint, effects
from pipeline.commands.terminal import cli
from pipeline.domain.checks import require
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.fleet import Fleet
from pipeline.results.figures.front_figure import BLUE, GREY, ORANGE
from pipeline.results.paper.published import published
from pipeline.results.units import number, readable
from pipeline.tracking.stored import Stored
from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge compare A B [KEY=VALUE ...]",
    "Explains why the carbon of two runs differs: energy, intensity, network, embodied carbon. A and B are run ids,\nor FILE:NAME for a row of published figures (conf/published/*.csv).",
    "carbonedge compare 1f0c 9e7d",
)


@dataclass(frozen=True)
class Side:
    """One of two runs, or a published figure."""

    name: str
    footprint: Footprint
    latency_ms: float = math.nan
    components: tuple[str, ...] | None = None
    """What its carbon holds; None: the publication does not say."""
    fleet: Fleet | None = None
    accounting: Accounting | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    """What it was a run of, as far as that is known."""
    parts: pd.DataFrame | None = None
    """Grams per inference by device (`coefficients.parts`)."""

    def holds(self, component: str) -> bool:
        """Whether its carbon is said to hold a component."""
        return self.components is not None and component in self.components

    @property
    def g_per_kwh(self) -> float:
        """Carbon ÷ energy of its devices, PUE included."""
        f = self.footprint
        return f.operational_g / f.energy_j * J_PER_KWH if f.energy_j else math.nan


def of_run(stored: Stored) -> Side:
    """A finished run. Raises ConfigError where it answered nothing or lacks its ledger."""
    metrics = stored.metrics
    require(
        "carbon_g_per_inf" in metrics,
        f"run {stored.run_id} ({stored.name}): has no carbon_g_per_inf; compare single runs, not sweeps",
    )
    config = stored.config("config.yaml")
    fleet, accounting = (instantiate(config[key], _convert_="all") for key in ("fleet", "accounting"))
    parts = coefficients.parts(stored.table("ledger.json"), fleet) / metrics["requests_ok"]
    return Side(
        stored.name,
        Footprint.of(metrics),
        metrics["latency_ms_mean"],
        tuple(c for c in COMPONENTS if f"carbon_{c}_g" in metrics),
        fleet,
        accounting,
        {key: stored.tags[key] for key in ("model", "fleet", "measurement") if key in stored.tags}
        | {"workload": str(config.workload)},
        parts,
    )


def of_file(path: Path, name: str) -> Side:
    """A row of a file of published figures. Raises ConfigError naming file, row and column."""
    row = published(path, name)
    footprint = Footprint(row["energy_j_per_inf"], row["carbon_g_per_inf"])
    return Side(name, footprint, row["latency_ms_mean"])


def require_one_boundary(a: Side, b: Side) -> None:
    """Figures that count different things are not set side by side."""
    if a.components is None or b.components is None or a.accounting is None or b.accounting is None:
        return
    differ = set(a.components) ^ set(b.components)
    require(
        not differ,
        f"boundary: {' and '.join(sorted(differ))} counts in one of {a.name!r} and {b.name!r} only; give the "
        "fleets the same figures, or carbonedge reaccount",
    )
    idle = [a.accounting.idle, b.accounting.idle]
    require(
        idle[0] == idle[1],
        f"accounting.idle: {a.name!r} counts {idle[0]} and {b.name!r} {idle[1]}; first "
        "carbonedge reaccount one of them by the other's rule",
    )


def change_bounds(a: Side, b: Side) -> tuple[float, float] | None:
    """The least and the most that B's carbon per inference less A's can be, wherever coefficients lie.

    A device that stands in both fleets has the same errors in both. None without ranges, or where a side
    is published.
    """
    if a.fleet is None or b.fleet is None or a.accounting is None or b.accounting is None:
        return None
    if not (coefficients.known(a.fleet, a.accounting) and coefficients.known(b.fleet, b.accounting)):
        return None
    assert a.parts is not None
    assert b.parts is not None
    if a.accounting.ranges != b.accounting.ranges or a.fleet.links != b.fleet.links:
        return None
    names = {d.name: d.name for d in b.fleet.devices}
    for device in b.fleet.devices:
        if device != a.fleet.by_name.get(device.name):
            while names[device.name] in {*a.fleet.by_name, *b.fleet.by_name}:
                names[device.name] += "_"
    others = [replace(d, name=names[d.name]) for d in b.fleet.devices if names[d.name] != d.name]
    # Whose ends a link may join is of no matter here.
    links = tuple(replace(link, between=None) for link in a.fleet.links)
    fleet = Fleet("both", (*a.fleet.devices, *others), links)
    difference = b.parts.rename(index=names).sub(a.parts, fill_value=0.0)
    return coefficients.bounds(difference.loc[list(fleet.by_name)], fleet, a.accounting)


def figures_table(a: Side, b: Side) -> pd.DataFrame:
    """What an inference takes on both sides, and B less A."""
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
    return table.assign(change=table["b"] - table["a"], ratio=table["b"] / table["a"].where(table["a"] != 0))


def effects_table(a: Side, b: Side) -> pd.DataFrame:
    """Grams per inference by effect, as shares of A's carbon and of the whole change."""
    found = effects(a.footprint, b.footprint)
    whole = b.footprint.total_g - a.footprint.total_g
    return pd.DataFrame(
        {
            "effect": list(EFFECTS),
            "g_per_inf": [found[key] for key in EFFECTS],
            "share_of_a": [_share(found[key], a.footprint.total_g) for key in EFFECTS],
            "share_of_change": [_share(found[key], whole) for key in EFFECTS],
        }
    )


def verdict(a: Side, b: Side, bounds: tuple[float, float] | None) -> str:
    """In a sentence: how much, why, and whether the coefficients' ranges can turn it round."""
    before, after = a.footprint, b.footprint
    if not before.total_g:
        return f"{a.name} emits nothing, and {b.name} {number(after.total_g)} g per inference."
    found = effects(before, after)
    by = ", ".join(f"{key} {found[key] / before.total_g:+.1%}" for key in EFFECTS if found[key])
    change = after.total_g - before.total_g
    order = (
        f"{abs(change) / before.total_g:.1%} {'less' if change < 0 else 'more'} than"
        if change
        else "as much as"
    )
    said = f"{b.name} emits {order} {a.name}: {by or 'nothing sets them apart'}."
    if found["intensity"] < change < 0 and after.energy_j > before.energy_j:
        said += (
            f" Cleaner electricity explains {found['intensity'] / change:.0%} of the saving, "
            f"more than the whole: energy per inference rose by {after.energy_j / before.energy_j - 1:.1%}."
        )
    differ = [key for key in a.about if key in b.about and a.about[key] != b.about[key]]
    if differ:
        said += f" They are no runs of the same: {', '.join(differ)} differ."
    if bounds is None:
        return said
    low, high = (end / before.total_g for end in bounds)
    turns = low <= 0 <= high
    within = f" Within the coefficients' ranges {low:+.1%} to {high:+.1%}: "
    return said + within + ("which of the two emits less is not settled." if turns else "the order holds.")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def waterfall(a: Side, b: Side) -> go.Figure:
    """From A's carbon to B's, effect by effect."""
    found = effects(a.footprint, b.footprint)
    title, factor = readable("carbon_g_per_inf", [a.footprint.total_g, b.footprint.total_g])
    steps = [key for key in EFFECTS if found[key]]
    values = [a.footprint.total_g, *(found[key] for key in steps), b.footprint.total_g]
    figure = go.Figure(
        go.Waterfall(
            x=[a.name, *(f"by {key}" for key in steps), b.name],
            y=[value * factor for value in values],
            measure=["absolute", *["relative"] * len(steps), "total"],
            text=[number(value * factor) for value in values],
            connector={"line": {"color": GREY}},
            increasing={"marker": {"color": ORANGE}},
            decreasing={"marker": {"color": BLUE}},
            totals={"marker": {"color": GREY}},
        )
    )
    figure.update_layout(title=f"{b.name} against {a.name}", yaxis_title=title, template="plotly_white")
    return figure


def print_comparison(console: Console, a: Side, b: Side, said: str) -> None:
    """Print both tables and the verdict for people."""
    shown = Table("per inference", title=escape(f"B: {b.name}, against A: {a.name}"))
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
    console.print(said, markup=False)


def side(tracking: Tracking, name: str) -> Side:
    """What a name on the command line stands for."""
    of_published = re.fullmatch(r"(.+?\.\w+):(.*)", name)
    if of_published:
        return of_file(Path(of_published[1]), of_published[2])
    tracking.reach()
    return of_run(tracking.stored(name))


def compare(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Compare the two, print it, and keep it as a run."""
    tracking: Tracking = instantiate(cli.config(overrides).tracking)
    a, b = (side(tracking, name) for name in names)
    if a.name == b.name:
        a, b = (replace(each, name=f"{each.name} ({which})") for each, which in ((a, "A"), (b, "B")))
    require_one_boundary(a, b)
    bounds = change_bounds(a, b)
    found = effects(a.footprint, b.footprint)
    metrics: dict[str, float] = {f"change_by_{key}_g_per_inf": grams for key, grams in found.items()}
    metrics["change_g_per_inf"] = b.footprint.total_g - a.footprint.total_g
    if bounds is not None:
        metrics["change_g_per_inf_low"], metrics["change_g_per_inf_high"] = bounds
    said = verdict(a, b, bounds)
    tracking.check()
    tags: dict[str, Any] = {"compared": "two runs", "verdict": said}
    with tracking.open_run(f"{b.name} against {a.name}", tags, {"a": names[0], "b": names[1]}) as run:
        run.log_metrics(metrics)
        run.log_table(figures_table(a, b), "figures.json")
        run.log_table(effects_table(a, b), "effects.json")
        run.log_figure(waterfall(a, b), "waterfall.html")
    console = Console(highlight=False, soft_wrap=True)
    print_comparison(console, a, b, said)
    console.print(tracking.ui_command())


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(compare, HELP, num_names=2)
