"""`carbonedge fronts EXPERIMENT`: the fronts of all sweeps of an experiment in one figure. Shell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, require

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.results.front import Front
    from pipeline.tracking.stored import Stored

HELP = cli.Help(
    "carbonedge fronts EXPERIMENT [tracking.uri=URI]",
    "Draws the fronts of all sweeps of an experiment in one figure.",
    "carbonedge fronts carbonedge",
)
MOST_DRAWN = 100_000
"""Most trials of a sweep in one figure."""


def fronts(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Write the figure into the working directory; the store is only read."""
    from pipeline.results.comparison.fronts_table import fronts_table, print_fronts
    from pipeline.results.figures.front_figure import overlay_figure
    from pipeline.results.pages.figures_html import figure_page
    from pipeline.results.pages.output_file import write_output
    from pipeline.results.terminal import terminal

    tracking = cli.tracking(overrides)
    tracking.reach()
    found, others = fronts_of(tracking.sweeps(names[0]))
    path = Path(f"front-{re.sub(r'[^A-Za-z0-9._-]+', '-', names[0])}.html")
    write_output(path, figure_page(overlay_figure(found)))
    console = terminal()
    print_fronts(console, f"Sweeps of {names[0]!r}", fronts_table(found), others)
    console.print(f"wrote {path}")


def fronts_of(sweeps: Sequence[Stored]) -> tuple[dict[str, Front], dict[str, str]]:
    """Fronts, by name, and why other sweeps are left out, by name.

    They have the objectives and the boundary of the last sweep that has two objectives. sweeps: finished
    ones. Raises ConfigError where none has trials and two objectives.
    """
    from pipeline.results.accountant import is_carbon_metric
    from pipeline.results.front import Front
    from pipeline.results.metric_keys import is_metric
    from pipeline.results.metric_values import with_metrics

    found: dict[str, Front] = {}
    others: dict[str, str] = {}
    wanted: dict[str, str] | None = None
    counted: Any = None
    for stored in reversed(sweeps):
        if not (stored.has("trials.json") and stored.has("multirun.yaml")):
            continue
        label = f"{stored.name} · {stored.run_id[:8]}"
        try:
            config = stored.config("multirun.yaml")
        except ConfigError as error:
            others[label] = str(error)
            continue
        sweep = _mapping(config, "sweep")
        given = _mapping(sweep, "objectives")
        objectives = {str(key): str(way) for key, way in given.items() if way is not None}
        if strange := [key for key in objectives if not is_metric(key)]:
            others[label] = f"its objective {strange[0]!r} is no metric"
            continue
        if len(objectives) == 2:
            wanted = wanted or objectives
        if objectives != wanted:
            two = len(objectives) == 2
            others[label] = "it has other objectives" if two else "its objectives are not two"
            continue
        try:
            table = stored.table("trials.json")
            with stored.reading("trials.json"):
                require(
                    len(table) <= MOST_DRAWN,
                    f"it has {len(table)} rows, and at most {MOST_DRAWN} are drawn",
                )
                table = with_metrics("trials", table)
                trials = _feasible(table, _mapping(sweep, "constraints"))
                require(len(trials) > 0, "it has no trial that meets its constraints")
                front = Front.of(trials, list(objectives), list(objectives.values()))
        except ConfigError as error:
            others[label] = str(error)
            continue
        boundary = _boundary(config, table) if any(map(is_carbon_metric, objectives)) else None
        counted = boundary if counted is None else counted
        if boundary != counted:
            others[label] = "its carbon has another boundary"
            continue
        found[label] = front
    reasons = [f"{label}: {reason}" for label, reason in others.items()]
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    why = f"can be drawn ({'; '.join(reasons[:3])}{more})" if others else "has trials"
    require(len(found) > 0, f"no sweep of the experiment {why}")
    return found, others


def _boundary(config: Mapping[str, Any], trials: pd.DataFrame) -> tuple[str, ...]:
    """What a sweep's carbon contains: its rules for idle power and reserved devices, and its components."""
    from pipeline.carbon.accounting import COMPONENTS, Accounting

    stated = _mapping(config, "accounting")
    rules = (str(stated.get(rule, getattr(Accounting, rule))) for rule in ("idle", "reserved"))
    return (*rules, *(each for each in COMPONENTS if f"carbon_{each}_g" in trials))


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A key's mapping; empty where there is none."""
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _feasible(trials: pd.DataFrame, constraints: Mapping[Any, Any]) -> pd.DataFrame:
    """The trials that meet all constraints of their sweep (by metric key: the bound)."""
    from pipeline.search.settings import Constraint

    for key, bound in constraints.items():
        constraint = Constraint.of(key, bound)
        kept = [
            constraint.beyond({str(k): v for k, v in row.items()}) <= 0 for row in trials.to_dict("records")
        ]
        trials = trials[kept]
    return trials


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(fronts, HELP, num_names=1)
