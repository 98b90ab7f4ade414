"""A sweep: `carbonedge sweep [OVERRIDE ...]`. Shell."""

from __future__ import annotations

import sys

from pipeline.commands import run


def main() -> None:
    """Run the app with Hydra's flag for sweeps."""
    sys.argv.insert(1, "--multirun")
    run.main()
