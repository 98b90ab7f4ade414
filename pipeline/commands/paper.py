"""`carbonedge paper`: the paper's tables and figures, measured here, beside its own. Shell.

Runs experiment=paper_tables and paper_weights, finds the exact front of each model, and writes one page:
paper.html and paper.md, which the MLflow run keeps too. Run again it goes on where it was cut short; what is
there is not measured anew.
"""

from __future__ import annotations

import html
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from hydra.utils import instantiate
from rich.console import Console

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects
from pipeline.commands.report import STYLE
from pipeline.commands.run import multirun
from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, require
from pipeline.domain.energy import J_PER_KWH
from pipeline.planning.exact_front import ExactFront, exact_front
from pipeline.planning.problem import Problem
from pipeline.results import repetition
from pipeline.results.paper.published import PUBLISHED
from pipeline.results.units import number
from pipeline.search import sweeper
from pipeline.search.study import SweepTrial
from pipeline.tracking.stored import Stored
from pipeline.tracking.tracking import Tracking
from pipeline.trial import Trial

HELP = cli.Help(
    "carbonedge paper [KEY=VALUE ...]",
    "Measures the tables and figures of the CarbonEdge paper here, and writes them beside the published ones.",
    "carbonedge paper workload.requests=20",
)
NAMES = {
    "monolithic": "Monolithic",
    "amp4ec": "AMP4EC",
    "ce_performance": "CE-Performance",
    "ce_balanced": "CE-Balanced",
    "ce_green": "CE-Green",
    "best_split": "Best split (ours)",
}
"""By file of conf/paper: what the paper calls it."""
MODELS = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenetv4_conv_small": "mobilenetv4",
    "efficientnet_b0": "efficientnet_b0",
}
"""By model: its name among the published figures."""
SIDES = ("middle left", "top left", "bottom left", "top right", "bottom right", "top center")
APART = dict(zip(NAMES, SIDES, strict=True))
"""Where a configuration's name stands beside its point: several lie close together."""
SHARES = {"ce_performance": "node-high", "ce_balanced": "node-high", "ce_green": "node-green"}
"""Table V: the node that has all tasks."""
SWITCH, SCHEDULING_MS = 0.5, 0.03
"""Fig. 3: the carbon weight from which tasks go to node-green. What it takes to schedule a task."""


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def measured(trials: Sequence[SweepTrial], stored: Mapping[str, Stored]) -> pd.DataFrame:
    """One row a repetition: model, paper, its metrics, the shares of its nodes, and `host_g_per_inf`,
    by the paper's accounting: the host's joules by quota, at the intensity of the node that they fall to.
    """
    rows = []
    for trial in trials:
        for repeat, result in enumerate(trial.results):
            run = stored[result.run_id]
            own = {"model": run.tags["model"], "repeat": repeat}
            row: dict[str, Any] = {**trial.point, **own, **result.labels, **result.metrics}
            tasks = run.table("records.json").query("kind == 'compute'").groupby("device")["cpu_s"].count()
            row |= {f"share of {node}": count / tasks.sum() for node, count in tasks.items()}
            if run.has("meter.json"):
                host = run.table("meter.json").set_index("device")["quota_energy_j"]
                ledger = run.table("ledger.json").groupby("device")["intensity_g_per_kwh"].first()
                grams = float((host * ledger.reindex(host.index)).sum()) / J_PER_KWH
                row |= {"host_g_per_inf": grams / result.metrics["requests_ok"]}
            rows.append(row)
    table = pd.DataFrame(rows)
    shares = {str(column): 0.0 for column in table if str(column).startswith("share of ")}
    table = table.fillna(shares)
    return repetition.grouped(table, ["model", "paper"])


def switches(trials: Sequence[SweepTrial]) -> pd.DataFrame:
    """One row a scheduler and carbon weight: the devices that it chose and what that took."""
    rows = [{**trial.point, **trial.results[0].labels, **trial.metrics} for trial in trials if trial.results]
    return pd.DataFrame(rows).sort_values(["scheduler", "scheduler.carbon_weight"], kind="stable")


def _cell(row: Mapping[Any, Any] | None, key: str, factor: float = 1.0) -> str:
    """A mean and its interval; a dash where it is not known."""
    value = math.nan if row is None else float(row.get(key, math.nan))
    if not math.isfinite(value):
        return "–"
    low, high = (float((row or {}).get(f"{key}{end}", math.nan)) for end in ("_lo", "_hi"))
    spread = f" ({number(low * factor)}–{number(high * factor)})" if math.isfinite(low) else ""
    return number(value * factor) + spread


def _rows(figures: pd.DataFrame, model: str) -> dict[str, dict[Any, Any]]:
    own = figures[figures["model"] == model]
    return {str(row["paper"]): row for row in own.to_dict("records")}


def _published(model: str) -> dict[str, dict[Any, Any]]:
    table = pd.read_csv(PUBLISHED)
    prefix = f"{MODELS.get(model)} "
    named = {name.lower(): key for key, name in NAMES.items()}
    return {
        named[str(row["name"]).removeprefix(prefix).lower()]: row
        for row in table.to_dict("records")
        if str(row["name"]).startswith(prefix)
    }


def _change(row: Mapping[Any, Any] | None, base: Mapping[Any, Any] | None, key: str) -> str:
    values = [math.nan if each is None else float(each.get(key, math.nan)) for each in (row, base)]
    known = all(map(math.isfinite, values)) and values[1] > 0
    return f"{values[0] / values[1] - 1:+.1%}" if known and row is not base else "–"


def _stated(paper: Mapping[Any, Any] | None) -> str:
    """What the paper says of a configuration's carbon against monolithic."""
    change = math.nan if paper is None else float(paper["change"])
    return f"{change:+.1%}" if math.isfinite(change) else "–"


def table_2(figures: pd.DataFrame, model: str) -> Table:
    """Table II of a model: every configuration, here by both accountings and as published."""
    rows, papers = _rows(figures, model), _published(model)
    base = rows.get("monolithic")
    cells = []
    for key in NAMES:
        row, paper = rows.get(key), papers.get(key)
        if row is None:
            continue
        cells.append(
            [
                NAMES[key],
                _cell(row, "latency_ms_mean"), _cell(paper, "latency_ms_mean"),
                _cell(row, "throughput_rps"), _cell(paper, "throughput_rps"),
                _cell(row, "host_g_per_inf", 1e3), _cell(row, "carbon_g_per_inf", 1e3),
                _cell(paper, "carbon_g_per_inf", 1e3),
                _change(row, base, "host_g_per_inf"), _change(row, base, "carbon_g_per_inf"),
                _stated(paper),
                _cell(row, "inferences_per_g"), _cell(paper, "inferences_per_g"),
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
    for model in dict.fromkeys(figures["model"]):
        rows, papers = _rows(figures, model), _published(model)
        base, green = rows.get("monolithic"), rows.get("ce_green")
        if base is None or green is None:
            continue
        paper_base, paper_green = papers.get("monolithic"), papers.get("ce_green")
        told = [
            f"{_cell(one, 'latency_ms_mean')} → {_cell(other, 'latency_ms_mean')}"
            for one, other in ((base, green), (paper_base, paper_green))
        ]
        cells.append(
            [
                model, *told,
                _change(green, base, "host_g_per_inf"), _change(green, base, "carbon_g_per_inf"),
                _stated(paper_green),
                _change(green, base, "energy_j_per_inf"),
            ]
        )  # fmt: skip
    columns = (
        "model", "latency here, ms", "paper", "carbon here: host by quota", "per device", "paper", "energy",
    )  # fmt: skip
    return Table("Table IV, monolithic → CE-Green", columns, cells)


def table_5(figures: pd.DataFrame) -> Table:
    """Table V: which node has which share of the tasks."""
    nodes = [str(column) for column in figures if str(column).startswith("share of ")]
    nodes = sorted(node for node in nodes if not node.endswith(("_lo", "_hi")))
    cells = []
    for row in figures.to_dict("records"):
        if row["paper"] in SHARES:
            shares = [row[node] for node in nodes]
            paper = f"{SHARES[row['paper']]} 100%"
            cells.append([row["model"], NAMES[row["paper"]], *[f"{share:.0%}" for share in shares], paper])
    return Table(
        "Table V, share of tasks", ("model", "configuration", *(n[9:] for n in nodes), "paper"), cells
    )


def table_switch(weights: pd.DataFrame) -> Table:
    """Fig. 3 in words: where each scheduler turns to node-green, by way of how many placements."""
    cells = []
    for scheduler, own in weights.groupby("scheduler", sort=False):
        placed = own["devices"].tolist()
        green = own.loc[own["devices"] == "node-green", "scheduler.carbon_weight"]
        first = f"{green.min():g}" if len(green) else "never"
        name = "the paper's S_C (weighted)" if scheduler == "green" else str(scheduler)
        ways = list(dict.fromkeys(placed))
        cells.append(
            [name, first, f"{SWITCH:g}" if scheduler == "green" else "–", str(len(ways)), ", ".join(ways)]
        )
    columns = ("scheduler", "turns to node-green at w_C", "paper", "placements", "in order of w_C")
    return Table("Fig. 3, the carbon weight", columns, cells)


def table_scheduling(figures: pd.DataFrame) -> Table:
    """What it takes to schedule a task."""
    asked = figures[figures.get("scheduling_us_per_task", pd.Series(dtype=float)).notna()]
    cells = [
        [row["model"], NAMES[row["paper"]], _cell(row, "scheduling_us_per_task", 1e-3), f"{SCHEDULING_MS:g}"]
        for row in asked.to_dict("records")
    ]
    return Table("Scheduling a task, ms", ("model", "configuration", "here", "paper"), cells)


def table_split(figures: pd.DataFrame) -> Table:
    """What the paper lacks: the best split at no more than 7% over monolithic's latency, and what saves."""
    cells = []
    for model in dict.fromkeys(figures["model"]):
        rows = _rows(figures, model)
        base, best = rows.get("monolithic"), rows.get("best_split")
        if base is None or best is None:
            continue
        parts = effects(Footprint.of(base), Footprint.of(best))
        shares = [f"{parts[name] / base['carbon_g_per_inf']:+.1%}" for name in EFFECTS]
        plan = f"cut {best['cuts']}: {best['devices']}"
        changes = [_change(best, base, key) for key in ("latency_ms_mean", "carbon_g_per_inf")]
        cells.append([model, plan, *changes, *shares])
    columns = ("model", "plan", "latency", "carbon", *(f"by {name}" for name in EFFECTS))
    notes = ("Against monolithic; the effects add up to the change of carbon (LMDI).",)
    return Table("Beyond the paper: the best split", columns, cells, notes)


def differences(figures: pd.DataFrame, weights: pd.DataFrame) -> list[str]:
    """Where what is measured here is not what the paper has, by how much and why."""
    said = []
    for model in dict.fromkeys(figures["model"]):
        rows, papers = _rows(figures, model), _published(model)
        base, green, paper = rows.get("monolithic"), rows.get("ce_green"), papers.get("monolithic")
        if base is None or green is None or paper is None:
            continue
        here, there = (
            _change(green, base, "latency_ms_mean"),
            _change(papers.get("ce_green"), paper, "latency_ms_mean"),
        )
        said.append(
            f"{model}: monolithic takes {number(base['latency_ms_mean'])} ms here and "
            f"{number(paper['latency_ms_mean'])} ms there "
            f"(×{base['latency_ms_mean'] / paper['latency_ms_mean']:.2f}): another host and "
            f"runtime. CE-Green's latency is {here} here, {there} there: a node of 0.4 CPU takes 1.5 times "
            "as long as one of 0.6 where a quota acts; in the paper it hardly did."
        )
        here_c, there_c = _change(green, base, "carbon_g_per_inf"), _stated(papers.get("ce_green"))
        said.append(
            f"{model}: CE-Green's carbon is {here_c} per device against the paper's {there_c}. At equal "
            f"energy the intensities alone make {380 / 530 - 1:+.1%}; the paper's differs by what its host's "
            "energy per inference did, which ours, per device, does not see."
        )
        by_host = _change(green, base, "host_g_per_inf")
        if by_host != "–":
            said.append(
                f"{model}: by the paper's accounting CE-Green's carbon is {by_host} here: the host works "
                "for as long as the slower node takes, whatever of it that node uses."
            )
        energy = base.get("host_j_per_inf")
        if energy is not None and math.isfinite(energy):
            implied = paper["carbon_g_per_inf"] / paper["intensity_g_per_kwh"] * J_PER_KWH
            said.append(
                f"{model}: the host took {number(energy)} J an inference here while monolithic ran, and the "
                f"paper's figures imply {number(implied)} J: a whole host, with all that it does beside."
            )
        told = rows.get("ce_balanced")
        if told is not None and told["devices"] != SHARES["ce_balanced"]:
            said.append(
                f"{model}: CE-Balanced goes to {told['devices']} and not to {SHARES['ce_balanced']}. With "
                "milliseconds instead of the paper's 270, S_P spans less than S_C, whose scale depends on "
                "the unit of E_est (docs/numbers.md)."
            )
    own = weights[(weights["scheduler"] == "green") & (weights["devices"] == "node-green")]
    first = own["scheduler.carbon_weight"].min()
    if len(own) and first != SWITCH:
        said.append(
            f"The paper's scores turn to node-green at w_C = {first:g} here, not at {SWITCH:g}: the ranges "
            "of S_P and S_C follow execution times, and its other scores tie between idle nodes."
        )
    return said


def figure_2(figures: pd.DataFrame, model: str) -> go.Figure:
    """Fig. 2: latency against inferences per gram, here and in the paper."""
    drawn = go.Figure()
    for source, rows in (("here", _rows(figures, model)), ("paper", _published(model))):
        shown = [
            (key, row) for key, row in rows.items() if math.isfinite(row.get("latency_ms_mean", math.nan))
        ]
        per_g = [row.get("inferences_per_g", math.nan) for _, row in shown]
        per_g = [
            each if math.isfinite(each) else 1 / row["carbon_g_per_inf"]
            for each, (_, row) in zip(per_g, shown, strict=True)
        ]
        drawn.add_scatter(
            x=[row["latency_ms_mean"] for _, row in shown], y=per_g, name=source, mode="markers+text",
            text=[NAMES[key] for key, _ in shown], textposition=[APART[key] for key, _ in shown],
            marker={"size": 10}, cliponaxis=False,
        )  # fmt: skip
    drawn.update_layout(
        template="plotly_white", title=f"Fig. 2, {model}: latency and carbon efficiency",
        xaxis={"title": "mean latency, ms", "type": "log"},
        yaxis={"title": "inferences per gram", "type": "log"},
    )  # fmt: skip
    return drawn


def figure_3(weights: pd.DataFrame) -> go.Figure:
    """Fig. 3: carbon per inference over the carbon weight, by scheduler."""
    drawn = go.Figure()
    for scheduler, own in weights.groupby("scheduler", sort=False):
        name = "the paper's scores" if scheduler == "green" else "scaled to [0, 1]"
        drawn.add_scatter(
            x=own["scheduler.carbon_weight"], y=own["carbon_g_per_inf"] * 1e3, name=name, text=own["devices"],
            mode="lines+markers", line={"shape": "hv"},
        )  # fmt: skip
    drawn.add_vline(x=SWITCH, line_dash="dot", annotation_text="the paper's switch")
    drawn.update_layout(
        template="plotly_white", title="Fig. 3: what the carbon weight does",
        xaxis={"title": "carbon weight"}, yaxis={"title": "carbon per inference, mg"},
    )  # fmt: skip
    return drawn


def figure_front(problem: Problem, front: ExactFront, figures: pd.DataFrame, model: str) -> go.Figure:
    """The exact front over split placements, and what was measured of the configurations."""
    carbon, latency = (front.costs[:, front.objectives.index(name)] for name in ("carbon_g", "latency_s"))
    drawn = go.Figure()
    names = [
        f"cut {', '.join(map(str, p.bounds[1:-1])) or 'none'}: {' → '.join(p.devices)}" for p in front.plans
    ]
    drawn.add_scatter(
        x=latency * 1e3, y=carbon * 1e3, name=f"exact front, {len(front.plans)} plans", text=names,
        mode="lines+markers", line={"shape": "hv"},
    )  # fmt: skip
    rows = _rows(figures, model)
    drawn.add_scatter(
        x=[row["latency_ms_mean"] for row in rows.values()],
        y=[row["carbon_g_per_inf"] * 1e3 for row in rows.values()],
        name="measured", text=[NAMES[key] for key in rows], mode="markers+text",
        textposition=[APART[key] for key in rows], marker={"size": 10}, cliponaxis=False,
    )  # fmt: skip
    drawn.update_layout(
        template="plotly_white", title=f"{model}: the exact front over split placements",
        xaxis={"title": "latency, ms"}, yaxis={"title": "carbon per inference, mg"},
    )  # fmt: skip
    return drawn


@dataclass(frozen=True)
class Page:
    """All that the page has, in its order."""

    about: Sequence[str]
    tables: Sequence[Table]
    differences: Sequence[str]
    figures: Sequence[go.Figure]

    def markdown(self) -> str:
        """Without the figures."""
        parts = ["# CarbonEdge's paper, measured here", *self.about]
        for table in self.tables:
            lines = [table.columns, ["---"] * len(table.columns), *table.rows]
            rows = "\n".join(
                "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines
            )
            parts += [f"## {table.title}", rows, *table.notes]
        listed = "\n".join(f"- {each}" for each in self.differences)
        return "\n\n".join([*parts, "## Where it differs, and why", listed]) + "\n"

    def html(self) -> str:
        """With the figures, and nothing to fetch."""
        parts = ["<h1>CarbonEdge's paper, measured here</h1>"]
        parts += [f"<p>{html.escape(line)}</p>" for line in self.about]
        for table in self.tables:
            head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
            body = "".join(
                f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
            )
            parts += [f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{body}</table>"]
            parts += [f"<p>{html.escape(note)}</p>" for note in table.notes]
        parts.append("<h2>Where it differs, and why</h2><ul>")
        parts += [f"<li>{html.escape(each)}</li>" for each in self.differences]
        parts.append("</ul><h2>Figures</h2>")
        for index, figure in enumerate(self.figures):
            parts.append(figure.to_html(full_html=False, include_plotlyjs=index == 0))
        head = f"<meta charset=utf-8><title>CarbonEdge's paper, measured here</title><style>{STYLE}</style>"
        return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def assembled(
    figures: pd.DataFrame,
    weights: pd.DataFrame,
    fronts: Mapping[str, tuple[Problem, ExactFront]],
    about: Sequence[str],
) -> Page:
    """The page of what was measured."""
    models = list(dict.fromkeys(figures["model"]))
    tables = [
        *(table_2(figures, model) for model in models),
        table_4(figures), table_5(figures), table_switch(weights), table_scheduling(figures),
        table_split(figures),
    ]  # fmt: skip
    drawn = [figure_2(figures, model) for model in models] + [figure_3(weights)]
    drawn += [figure_front(*fronts[model], figures, model) for model in models if model in fronts]
    return Page(about, tables, differences(figures, weights), drawn)


def _about(figures: pd.DataFrame, stored: Stored) -> list[str]:
    repeats, requests = int(figures["repeats"].min()), int(figures["requests_ok"].min())
    return [
        f"Emulated on fleet=paper: three nodes of 1.0, 0.6 and 0.4 CPU at 620, 530 and 380 g/kWh. {repeats} "
        f"repetitions of {requests} requests each, one at a time; means, and in brackets their 95% bootstrap "
        "interval (of three it is hardly more than their range). Published: CarbonEdge, arXiv 2603.27420.",
        "Host by quota is the paper's accounting: what this host drew while a configuration ran "
        f"({stored.tags.get('host_meter', 'no meter')}), at the intensity of the node it falls to. Per "
        "device is ours: a node's own power (quota × 140 W, as the paper's figures imply) while it works.",
        stored.tags.get("boundary", ""),
        f"Measured {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()}"
        f", commit {stored.tags.get('mlflow.source.git.commit', 'not known')}.",
    ]


def paper_page(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Measure what is missing, and write the page into the working directory and into MLflow."""
    console = Console(highlight=False, soft_wrap=True)
    config = cli.config(["experiment=paper_tables", *overrides])
    tracking: Tracking = instantiate(config.tracking)
    tracking.check()
    with tracking.open_run("paper", {"sweep": "paper"}, {}) as run:
        inside = f"tracking.parent_run_id={run.run_id}"
        tables = multirun(["experiment=paper_tables", *overrides, inside])
        weights = multirun(["experiment=paper_weights", *overrides, inside])
        done = [trial for trial in tables if trial.results and not trial.failure]
        require(len(done) > 0, "no configuration of experiment=paper_tables was measured")
        stored = {result.run_id: tracking.stored(result.run_id) for trial in done for result in trial.results}
        figures = measured(done, stored)
        fronts = {}
        for model in dict.fromkeys(figures["model"]):
            problem = _problem(str(model), overrides)
            fronts[model] = (problem, exact_front(problem))
        page = assembled(figures, switches(weights), fronts, _about(figures, next(iter(stored.values()))))
        for path, text in (("paper.html", page.html()), ("paper.md", page.markdown())):
            run.log_text(text, path)
            _write(Path(path), text)
    console.print(page.markdown(), markup=False)
    console.print(f"wrote paper.html and paper.md\n{tracking.farewell()}", markup=False)


def _problem(model: str, overrides: Sequence[str]) -> Problem:
    """What the cost model knows of a model on the paper's nodes, by the profile that its trials measured."""
    kept = [each for each in overrides if not each.lstrip("+~").startswith(("sweep", "hydra"))]
    kept += [] if any(each.startswith("model=") for each in kept) else [f"model={model}"]
    trial: Trial = instantiate(sweeper.trial_config(cli.config(kept)))
    return trial.problem()


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(f"{path.suffix}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"{path.absolute()}: cannot be written ({error.strerror})") from error


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(paper_page, HELP, num_names=0)
