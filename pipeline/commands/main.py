"""`carbonedge COMMAND ...`: which command was asked for. Shell."""

from __future__ import annotations

import importlib
import sys

COMMANDS = ("run", "sweep", "compare", "reaccount", "report", "fronts", "sync", "paper")
USAGE = f"usage: carbonedge {{{','.join(COMMANDS)}}} [ARGUMENT ...]"


def main() -> None:
    """Run the command that is named first; exit code 2 and one line where there is none of that name."""
    name, *rest = sys.argv[1:] or [""]
    if name not in COMMANDS:
        sys.exit(USAGE)
    sys.argv[:] = [f"carbonedge {name}", *rest]
    importlib.import_module(f"pipeline.commands.{name}").main()
