"""`carbonedge sync`: send to the MLflow store what it did not take while it was away. Shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hydra.utils import instantiate
from rich.console import Console

from pipeline.commands import cli
from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge sync [tracking.outbox=FOLDER]",
    "Sends to the MLflow store what it did not take while it was away.",
    "carbonedge sync",
)


def sync(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Send all runs that wait in `tracking.outbox`, each to the store that it was meant for.

    Raises SystemExit(1) where a store still does not answer; nothing is lost then.
    """
    tracking: Tracking = instantiate(cli.config(overrides).tracking)
    sent, left, held_back = tracking.sync()
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{sent} sent, {left} still wait in {tracking.outbox}", markup=False)
    if held_back:
        console.print(f"{held_back} belong to a sweep that was cut short: run it again, and it goes on")
    if left:
        sys.exit(1)


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(sync, HELP, num_names=0)
