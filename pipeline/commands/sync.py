"""`carbonedge sync`: sends to the MLflow store the runs that it could not take earlier. Shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.commands.terminal import cli

HELP = cli.Help(
    "carbonedge sync [tracking.uri=URI tracking.outbox=FOLDER]",
    "Sends to the MLflow store the runs that it could not take earlier, and closes runs of killed processes.",
    "carbonedge sync",
)


def sync(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Send the runs that wait in `tracking.outbox` for the store of `tracking.uri`; name the other stores.

    Raises SystemExit(1) if the store still does not respond; the runs then stay in the outbox.
    """
    from pipeline.results.terminal import terminal
    from pipeline.tracking.entry import REFUSED

    tracking = cli.tracking(overrides)
    synced = tracking.sync()
    console = terminal()
    console.print(f"{synced.sent} sent, {synced.waiting} still wait in {tracking.outbox}")
    if synced.refused:
        console.print(f"{synced.refused} refused, and kept in {tracking.outbox}/{REFUSED}")
    if synced.held_back:
        console.print(
            f"{synced.held_back} belong to an interrupted sweep: run the sweep again to continue it"
        )
    for uri in tracking.elsewhere():
        console.print(f"others are of another store: carbonedge sync tracking.uri={uri}")
    if synced.waiting:
        console.print(f"the store is unresponsive: {tracking.trouble()}")
        sys.exit(1)


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(sync, HELP, num_names=0)
