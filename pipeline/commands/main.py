"""`carbonedge COMMAND ...`: runs the command; prints the list of commands or the version. Shell."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import version

COMMANDS = {
    "run": "run one configuration",
    "sweep": "run a grid or a study of configurations, and find its front",
    "compare": "explain why the carbon of two runs differs",
    "reaccount": "compute a run's ledger again, under another grid, attribution, PUE or boundary",
    "report": "write the audit of a run or sweep: where every gram comes from",
    "fronts": "draw the fronts of all sweeps of an experiment in one figure",
    "sync": "send to MLflow the runs that wait in the outbox",
    "paper": "measure the tables and figures of the CarbonEdge paper here",
}
"""Summary of each command, by its name, which is also that of its module."""
HELP = f"""\
usage: carbonedge COMMAND [ARGUMENT ...]

Which device should run which part of a network, and what it costs in time, energy and carbon.

Commands:
{chr(10).join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())}

carbonedge COMMAND --help describes a command, carbonedge --version prints the version.

Example:
  carbonedge sweep scheduler=performance,balanced,green partitioner.device=auto"""


def main() -> None:
    """Run the command that the first argument names. Raises SystemExit: one line and code 2 if unknown."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(HELP)
    elif "--version" in sys.argv[1:]:
        print(f"carbonedge {version('carbonedge')}")
    elif name in COMMANDS:
        sys.argv[:] = [f"carbonedge {name}", *rest]
        sys.path.append(os.getcwd())  # plug-ins may be modules in the working directory
        try:
            importlib.import_module(f"pipeline.commands.{name}").main()
        except KeyboardInterrupt:  # during the imports, which take seconds
            sys.exit("interrupted")
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(COMMANDS)}"
        print(f"error: unknown command {name!r}; {remedy}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":  # as MLproject calls it: the console script would run the installed package
    main()
