"""`carbonedge fronts EXPERIMENT`: the fronts of an experiment's sweeps over one another. Shell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, require
from pipeline.planning import pareto
from pipeline.results.figures.front_figure import overlay_figure
from pipeline.results.front import Front
from pipeline.results.units import number
from pipeline.search.settings import Constraint
from pipeline.tracking.stored import Stored
from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge fronts EXPERIMENT [tracking.uri=URI]",
    "Draws the fronts of all sweeps of an experiment in one figure.",
    "carbonedge fronts carbonedge",
)


def fronts_of(sweeps: Sequence[Stored]) -> tuple[dict[str, Front], list[str]]:
    """The fronts of finished sweeps by name, under the objectives of the last that has two; names of others.

    Raises ConfigError where none has trials and two objectives.
    """
    found: dict[str, Front] = {}
    others = []
    wanted: dict[str, str] | None = None
    for stored in reversed(sweeps):
        if not (stored.has("trials.json") and stored.has("multirun.yaml")):
            continue
        config = stored.config("multirun.yaml")
        given = OmegaConf.select(config, "sweep.objectives") or {}
        objectives = {str(key): str(way) for key, way in given.items() if way is not None}
        label = f"{stored.name} · {stored.run_id[:8]}"
        if len(objectives) == 2:
            wanted = wanted or objectives
        if objectives != wanted:
            others.append(label)
            continue
        trials = pd.DataFrame(stored.table("trials.json"))
        for key, bound in (OmegaConf.select(config, "sweep.constraints") or {}).items():
            constraint = Constraint.of(key, bound)
            kept = [
                constraint.beyond({str(k): v for k, v in row.items()}) <= 0
                for row in trials.to_dict("records")
            ]
            trials = trials[kept]
        found[label] = Front.of(trials, list(objectives), list(objectives.values()))
    none = "has two objectives, as fronts that are laid over one another must" if others else "has trials"
    require(len(found) > 0, f"no sweep of the experiment {none}")
    return found, others


def compared(fronts: dict[str, Front]) -> pd.DataFrame:
    """One row a sweep: trials, front size, and hypervolume, all from one reference point."""
    reference = pareto.reference_point([cost for front in fronts.values() for cost in front.costs])
    rows = [
        (name, len(front.trials), int(front.member.sum()), pareto.hypervolume(front.costs, reference))
        for name, front in fronts.items()
    ]
    table = pd.DataFrame(rows, columns=["sweep", "trials", "front", "hypervolume"])
    return table.assign(share=table["hypervolume"] / table["hypervolume"].max())


def overlay(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Write the figure into the working directory; the store is only read."""
    tracking: Tracking = instantiate(cli.config(overrides).tracking)
    tracking.reach()
    fronts, others = fronts_of(tracking.sweeps(names[0]))
    path = Path(f"front-{re.sub(r'[^A-Za-z0-9._-]+', '-', names[0])}.html")
    try:
        overlay_figure(fronts).write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise ConfigError(f"{path.absolute()}: cannot be written ({error.strerror})") from error
    console = Console(highlight=False, soft_wrap=True)
    shown = Table("sweep", title=f"Sweeps of {names[0]!r}", title_justify="left")
    for heading in ("trials", "front", "hypervolume, of the largest"):
        shown.add_column(heading, justify="right")
    for row in compared(fronts).to_dict("records"):
        shown.add_row(row["sweep"], str(row["trials"]), str(row["front"]), number(row["share"]))
    console.print(shown)
    for name in others:
        console.print(f"left out, as its objectives are others: {name}", markup=False)
    console.print(f"wrote {path}", markup=False)


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(overlay, HELP, num_names=1)
