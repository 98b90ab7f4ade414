"""The progress of a sweep, printed while it runs: a bar, or a line for each trial. Shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.search.studies.study import Study
from pipeline.search.studies.sweep_trial import SweepTrial


@contextmanager
def progress(
    console: Console, study: Study, objectives: Mapping[str, str]
) -> Iterator[Callable[[SweepTrial], None]]:
    """A function to call after each trial: it moves a bar on a terminal, and prints a line elsewhere.

    It prints failures on both.
    """
    columns = (
        TextColumn("{task.completed}/{task.total} trials"),
        BarColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=study.total, completed=len(study.trials))

        def show(trial: SweepTrial) -> None:
            trials = study.trials
            best = _best(trials, objectives)
            bar.update(task, completed=len(trials), description=best)
            if trial.failure:
                console.print(f"trial {trial.number} failed: {trial.failure}")
            elif not console.is_terminal:
                console.print(f"{len(trials)}/{study.total} trials  {best}")

        yield show


def _best(trials: Sequence[SweepTrial], objectives: Mapping[str, str]) -> str:
    """The best value so far of each objective."""
    values = np.array([trial.values(objectives) for trial in trials if not trial.failure])
    known = [key for key, column in zip(objectives, values.T, strict=False) if np.isfinite(column).any()]
    pick = {"minimize": np.nanmin, "maximize": np.nanmax}
    columns = dict(zip(objectives, values.T, strict=False))
    return "  ".join(f"best {key} {pick[objectives[key]](columns[key]):.4g}" for key in known)
