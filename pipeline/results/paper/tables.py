"""The paper's tables: measurements here beside the published figures. Pure.

figures: columns as `measured.measured` returns them; weights: columns as `measured.switches` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects
from pipeline.results.metric_keys import base_key
from pipeline.results.paper.cells import UNKNOWN, change, stated_change, value
from pipeline.results.paper.configurations import NAMES, SCHEDULING_MS, SHARES, SWITCH
from pipeline.results.paper.measured import SHARE, by_configuration, models
from pipeline.results.paper.published import published_configurations


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def table_2(figures: pd.DataFrame, model: str) -> Table:
    """Table II of a model: every configuration, here by both accountings and as published."""
    rows, papers = by_configuration(figures, model), published_configurations(model)
    base = rows.get("monolithic")
    cells = []
    for key in NAMES:
        row, paper = rows.get(key), papers.get(key)
        if row is None:
            continue
        cells.append(
            [
                NAMES[key],
                value(row, "latency_ms_mean"), value(paper, "latency_ms_mean"),
                value(row, "throughput_rps"), value(paper, "throughput_rps"),
                value(row, "host_g_per_inf", 1e3), value(row, "carbon_g_per_inf", 1e3),
                value(paper, "carbon_g_per_inf", 1e3),
                change(row, base, "host_g_per_inf"), change(row, base, "carbon_g_per_inf"),
                stated_change(paper),
                value(row, "inferences_per_g"), value(paper, "inferences_per_g"),
            ]
        )  # fmt: skip
    columns = (
        "configuration", "latency here, ms", "paper", "req/s here", "paper", "carbon here, host by quota, mg",
        "per device, mg", "paper, mg", "against monolithic: host", "per device", "paper",
        "inferences/g here", "paper",
    )  # fmt: skip
    return Table(f"Table II, {model}", columns, cells)


def table_4(figures: pd.DataFrame) -> Table:
    """Table IV: monolithic to CE-Green for each model."""
    cells = []
    for model in models(figures):
        rows, papers = by_configuration(figures, model), published_configurations(model)
        base, green = rows.get("monolithic"), rows.get("ce_green")
        if base is None or green is None:
            continue
        paper_base, paper_green = papers.get("monolithic"), papers.get("ce_green")
        latencies = [
            f"{value(one, 'latency_ms_mean')} → {value(other, 'latency_ms_mean')}"
            for one, other in ((base, green), (paper_base, paper_green))
        ]
        cells.append(
            [
                model, *latencies,
                change(green, base, "host_g_per_inf"), change(green, base, "carbon_g_per_inf"),
                stated_change(paper_green),
                change(green, base, "energy_j_per_inf"),
            ]
        )  # fmt: skip
    columns = (
        "model", "latency here, ms", "paper", "carbon here: host by quota", "per device", "paper", "energy",
    )  # fmt: skip
    return Table("Table IV, monolithic → CE-Green", columns, cells)


def table_5(figures: pd.DataFrame) -> Table:
    """Table V: which node has which share of the tasks."""
    shares = [str(column) for column in figures if str(column).startswith(SHARE)]
    shares = sorted(share for share in shares if base_key(share) == share)
    cells = [
        [
            row["model"], NAMES[row["paper"]], *[f"{row[share]:.0%}" for share in shares],
            f"{SHARES[row['paper']]} 100%",
        ]
        for row in figures.to_dict("records")
        if row["paper"] in SHARES
    ]  # fmt: skip
    nodes = [share.removeprefix(SHARE) for share in shares]
    return Table("Table V, share of tasks", ("model", "configuration", *nodes, "paper"), cells)


def table_switch(weights: pd.DataFrame) -> Table:
    """Fig. 3 as a table: the weight at which each scheduler switches to node-green, and its placements."""
    cells = []
    for scheduler, own in weights.groupby("scheduler", sort=False):
        papers = scheduler == "green"
        green = own.loc[own["devices"] == "node-green", "scheduler.carbon_weight"]
        first = f"{green.min():g}" if len(green) else "never"
        name = "the paper's S_C (weighted)" if papers else str(scheduler)
        placements = list(dict.fromkeys(own["devices"].tolist()))
        stated = f"{SWITCH:g}" if papers else UNKNOWN
        cells.append([name, first, stated, str(len(placements)), ", ".join(placements)])
    columns = ("scheduler", "switches to node-green at w_C", "paper", "placements", "in order of w_C")
    return Table("Fig. 3, the carbon weight", columns, cells)


def table_scheduling(figures: pd.DataFrame) -> Table:
    """Time to schedule a task."""
    scheduled = figures[figures.get("scheduling_us_per_task", pd.Series(dtype=float)).notna()]
    cells = [
        [row["model"], NAMES[row["paper"]], value(row, "scheduling_us_per_task", 1e-3), f"{SCHEDULING_MS:g}"]
        for row in scheduled.to_dict("records")
    ]
    return Table("Scheduling a task, ms", ("model", "configuration", "here", "paper"), cells)


def table_split(figures: pd.DataFrame) -> Table:
    """Not in the paper: the best split at no more than 7% over monolithic's latency, and its saving."""
    cells = []
    for model in models(figures):
        rows = by_configuration(figures, model)
        base, best = rows.get("monolithic"), rows.get("best_split")
        if base is None or best is None:
            continue
        parts = effects(Footprint.of(base), Footprint.of(best))
        shares = [f"{parts[name] / base['carbon_g_per_inf']:+.1%}" for name in EFFECTS]
        plan = f"cut {best['cuts']}: {best['devices']}"
        changes = [change(best, base, key) for key in ("latency_ms_mean", "carbon_g_per_inf")]
        cells.append([model, plan, *changes, *shares])
    columns = ("model", "plan", "latency", "carbon", *(f"by {name}" for name in EFFECTS))
    notes = ("Against monolithic; the effects add up to the change of carbon (LMDI).",)
    return Table("Beyond the paper: the best split", columns, cells, notes)
