"""The terminal on which results are printed. Shell."""

from __future__ import annotations

from typing import IO

from rich.console import Console


def terminal(file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that prints texts as they are: a run's name cannot style a line, nor end in a traceback.

    file: None: standard output. width: in letters; None: that of the terminal.
    """
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)
