"""A sweep: `carbonedge sweep [OVERRIDE ...]`. Shell."""

from __future__ import annotations

import sys

from pipeline.commands.run import run_app
from pipeline.commands.terminal import cli

HELP = cli.Help(
    "carbonedge sweep [KEY=VALUE,VALUE ...] [KEY=VALUE ...]",
    "Runs a grid (values with commas), a study (sweep=pareto) or an experiment, and finds its front. MLflow\n"
    "holds one parent run, and below it one run for each trial. The same command continues a stopped sweep.\n"
    "`python -m pipeline --help` lists every config group and setting.",
    "carbonedge sweep sweep=pareto model=resnet50 sweep.n_trials=60",
)


def main() -> None:
    """Run the command on the arguments of this process, or print its help."""
    if cli.asks_for_help():
        print(HELP)
    else:
        sys.argv.insert(1, "--multirun")
        run_app()
