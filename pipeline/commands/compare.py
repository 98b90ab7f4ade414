"""`carbonedge compare A B`: why the carbon of two runs differs, as tables, a waterfall and a run. Shell.

A and B are MLflow run ids, or FILE:NAME for a row of published figures (conf/published/carbonedge.csv).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.terminal import cli
from pipeline.domain.checks import require

if TYPE_CHECKING:
    from pipeline.results.comparison.side import Side
    from pipeline.tracking.stored import Stored
    from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge compare A B [KEY=VALUE ...]",
    "Explains why the carbon of two runs differs: energy, intensity, network, embodied carbon. A and B are "
    "run ids,\nor FILE:NAME for a row of published figures (conf/published/*.csv).",
    "carbonedge compare 1f0c4be27a604c7f9d3f0d6a8f5b21c7 9e7d02c65b1f4f0e8a33c1d7b6e45f90",
)


def compare(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Compare the two, print the comparison, and log it as a run."""
    from pipeline.results.comparison.change_bounds import change_bounds
    from pipeline.results.comparison.side import require_one_boundary
    from pipeline.results.comparison.tables import print_comparison
    from pipeline.results.comparison.verdict import verdict
    from pipeline.results.terminal import terminal

    tracking = cli.tracking(overrides)
    a, b = (_side(tracking, name) for name in names)
    if a.name == b.name:
        a, b = (replace(each, name=f"{each.name} ({which})") for each, which in ((a, "A"), (b, "B")))
    require_one_boundary(a, b)
    bounds = change_bounds(a, b)
    sentences = verdict(a, b, bounds)
    tracking.check()
    _log(tracking, names, a, b, bounds, sentences)
    console = terminal()
    print_comparison(console, a, b, sentences)
    console.print(tracking.ui_command())


def _side(tracking: Tracking, name: str) -> Side:
    """The run or the published figure of a name on the command line."""
    from pipeline.results.comparison.side import Side
    from pipeline.results.paper.published import published

    of_published = re.fullmatch(r"(.+?\.\w+):(.*)", name)
    if of_published:
        path, row = of_published.groups()
        return Side.of_published(row, published(Path(path), row))
    tracking.reach()
    return _of_run(tracking.stored(name))


def _of_run(stored: Stored) -> Side:
    """A finished run (`StoredRun.of`)."""
    from pipeline.commands.stored_run import StoredRun
    from pipeline.results.comparison.side import Side

    require(
        "carbon_g_per_inf" in stored.metrics,
        f"run {stored.run_id} ({stored.name}): has no carbon_g_per_inf; compare single runs, not sweeps",
    )
    run = StoredRun.of(stored, ["energy_j_per_inf", "latency_ms_mean", "requests_ok"])
    about = {key: stored.tags[key] for key in ("model", "fleet", "measurement") if key in stored.tags}
    about["workload"] = str(run.config.get("workload"))
    with stored.reading("ledger.json"):
        return Side.of_run(stored.name, run.figures, run.ledger, run.fleet, run.accounting, about)


def _log(
    tracking: Tracking,
    names: Sequence[str],
    a: Side,
    b: Side,
    bounds: tuple[float, float] | None,
    sentences: str,
) -> None:
    """A run of the comparison: metrics, tables and waterfall."""
    from pipeline.carbon.decomposition import effects
    from pipeline.results.comparison.tables import effects_table, figures_table
    from pipeline.results.comparison.waterfall import waterfall
    from pipeline.results.metric_keys import range_keys

    metrics = {
        f"change_by_{key}_g_per_inf": grams for key, grams in effects(a.footprint, b.footprint).items()
    }
    metrics["change_g_per_inf"] = b.footprint.total_g - a.footprint.total_g
    if bounds is not None:
        metrics |= zip(range_keys("change_g_per_inf"), bounds, strict=True)
    tags = {"compared": "two runs", "verdict": sentences}
    with tracking.open_run(f"{b.name} against {a.name}", tags, {"a": names[0], "b": names[1]}) as run:
        run.log_metrics(metrics)
        run.log_table(figures_table(a, b), "figures.json")
        run.log_table(effects_table(a, b), "effects.json")
        run.log_figure(waterfall(a, b), "waterfall.html")


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(compare, HELP, num_names=2)
