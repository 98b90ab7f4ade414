"""What comes of a sweep: its progress; its front, tagged, drawn, printed, and handed on as a plan. Shell."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.domain.plan import Plan
from pipeline.planning import pareto
from pipeline.planning.plan_file import plan_text
from pipeline.results import repetition
from pipeline.results.figures import front_figure, front_picture, schedulers_figure
from pipeline.results.front import Front
from pipeline.results.tables import comparison_table
from pipeline.results.tables.front_table import front_note, front_table, print_front
from pipeline.search.samplers import GRID
from pipeline.search.settings import Settings
from pipeline.search.study import Study, SweepTrial
from pipeline.tracking import pyfunc_model
from pipeline.tracking.mlflow_run import NOTE_TAG, Run
from pipeline.tracking.tracking import Tracking

COLUMNS = {"scheduler.carbon_weight": "carbon_weight"}
"""Of the table of trials, where they have other names than what was varied."""


def trials_table(trials: Sequence[SweepTrial]) -> pd.DataFrame:
    """One row a repetition of a trial: its number and run, the plan as it ran, what was varied, metrics."""
    rows = []
    for trial in trials:
        varied = {COLUMNS.get(key, key): value for key, value in trial.point.items()}
        for repeat, result in enumerate(trial.results):
            varied |= {"repeat": repeat} if len(trial.results) > 1 else {}
            identity = {"number": trial.number, "run_id": result.run_id, "name": result.name}
            rows.append({**identity, **varied, **result.labels, **result.metrics})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Findings:
    """The trials that count for a front, repetitions taken together, and who is on it. Pure."""

    settings: Settings
    dimensions: Sequence[str]
    """Keys of all that varied."""
    trials: Sequence[SweepTrial]
    """Complete, each objective finite, within the constraints; at least one."""

    @cached_property
    def varied(self) -> list[str]:
        """What varied beside chance, as columns of the trials."""
        return [COLUMNS.get(key, key) for key in self._told_apart]

    @property
    def _told_apart(self) -> list[str]:
        return [key for key in self.dimensions if key not in repetition.SEEDS]

    @cached_property
    def repeated(self) -> bool:
        """Whether some trials differ by chance alone."""
        return self.settings.repeats > 1 or len(self.varied) < len(self.dimensions)

    @cached_property
    def each(self) -> pd.DataFrame:
        """A row a repetition."""
        each = trials_table(self.trials)
        if self.repeated or self.settings.baseline:  # by what was asked for, whatever the plan made of it
            asked = [trial.point for trial in self.trials for _ in trial.results]
            each[self.varied] = [[point.get(key, "–") for key in self._told_apart] for point in asked]
        return each

    @cached_property
    def means(self) -> pd.DataFrame:
        """A row a configuration."""
        return repetition.grouped(self.each, self.varied) if self.repeated else self.each

    @cached_property
    def costs(self) -> pareto.Points:
        """The objectives of `means`, minimised."""
        values = self.means[[*self.settings.objectives]].to_numpy(dtype=float)
        return pareto.signed(values, self.directions)

    @property
    def directions(self) -> list[str]:
        """Of the objectives."""
        return [*self.settings.objectives.values()]

    @cached_property
    def on_front(self) -> NDArray[np.bool_]:
        """Of the rows of `means`."""
        return pareto.non_dominated(self.costs)

    @cached_property
    def ends(self) -> tuple[pareto.Points, pareto.Points] | None:
        """Of the 95% intervals of the objectives, minimised; None where there are none."""
        return (
            repetition.ends(self.means, self.settings.objectives) if self.repeated and self.varied else None
        )

    @cached_property
    def confident(self) -> NDArray[np.bool_]:
        """Who of `means` is on the front wherever in its interval each objective lies."""
        return self.on_front & (pareto.confident_front(*self.ends) if self.ends else False)

    def runs(self, chosen: NDArray[np.bool_]) -> set[str]:
        """The runs of some rows of `means`."""
        rows = self.means[chosen]
        if self.repeated and self.varied:
            rows = self.each.merge(rows[self.varied])
        return set(rows["run_id"])


@dataclass(frozen=True)
class Report:
    """Writes what was found to the sweep's run, and prints it."""

    run: Run
    tracking: Tracking
    console: Console
    note: str
    """What its page in MLflow says so far."""
    ids: Mapping[str, str]
    """Of runs that MLflow did not know when they began, the id that they have there."""

    def front(self, found: Findings, all_runs: set[str]) -> pd.DataFrame:
        """Tag the front's trials, draw the front and print it; gives its table. all_runs: of the sweep."""
        settings, means, run = found.settings, found.means, self.run
        objectives = [*settings.objectives]
        on_it, confident = found.runs(found.on_front), found.runs(found.confident)
        pages = self.tracking.tag_front(run.run_id, on_it, all_runs - on_it)
        self.tracking.tag_front(run.run_id, confident, all_runs - confident, "pareto_confident")
        run.log_metrics({"front_size": int(found.on_front.sum())})
        run.log_figure(front_figure.front_figure(means, objectives, found.directions), "front.html")
        run.log_figure(front_picture.front_picture(means, objectives, found.directions), "front.png")
        compared = schedulers_figure.schedulers_figure(means, objectives, found.directions)
        if compared is not None:
            run.log_figure(compared, "schedulers.html")
        # The plan's part is told by its cuts and devices.
        told_by = [column for column in found.varied if not column.startswith("partitioner.")]
        table = front_table(means, objectives, found.directions, told_by)
        run.log_table(table.replace({"run_id": self.ids}), "front.json")
        shown = Front.of(means, objectives, found.directions)
        run.set_tags({NOTE_TAG: f"{self.note}\n\n{front_note(shown, pages)}"})
        print_front(self.console, table)
        return table

    def repetitions(self, found: Findings) -> None:
        """Means, intervals, who surely dominates whom, and what sets each apart from the baseline."""
        settings, means, by = found.settings, found.means, found.varied
        names = [f"trial {number}" for number in means["number"]]
        if found.repeated or settings.baseline:
            baseline = {COLUMNS.get(key, key): value for key, value in settings.baseline.items()}
            apart = repetition.against(found.each, by, baseline) if baseline else None
            summary = comparison_table.summary_table(means, by, apart)
            self.run.log_table(summary, "summary.json")
            if settings.sampler == GRID:  # a study's points are many, and each of its own
                names = [" ".join(str(row[key]) for key in by) for row in means.to_dict("records")]
                comparison_table.print_summary(self.console, summary, by, [*settings.objectives], baseline)
                if found.ends:
                    dominates = pareto.confident_dominance(*found.ends)
                    comparison_table.print_dominance(self.console, names, dominates)
        if found.ends:
            comparison_table.print_confident(self.console, names, found.confident)

    def hand_on(self, trial: SweepTrial, config: DictConfig) -> str | None:
        """Log a trial's plan as a file that any backend runs and as a model that MLflow serves.

        Gives the name to register the model under; None where the trial has no one plan of one model.
        """
        plan = next((result.plan for result in trial.results if result.plan), None)
        model = config.get("model")
        if plan is None or model is None or "_target_" not in model or config.get("extra_models"):
            return None
        text = plan_text(Plan(**plan), model.name, config.fleet.name)
        self.run.log_text(text, "plan.json")
        with tempfile.TemporaryDirectory() as folder:
            pyfunc_model.save(Path(folder), text, OmegaConf.to_yaml(model, resolve=True))
            self.run.log_model(Path(folder), "pipeline.tracking.pyfunc_model")
        return f"carbonedge-{model.name}-{config.fleet.name}"


def note(objectives: Mapping[str, str], dimensions: Sequence[str], study: str) -> str:
    """What the sweep's page in MLflow says of how to compare its trials (Markdown)."""
    varied = ", ".join(f"`{key}`" for key in dimensions) or "nothing"
    goals = " and ".join(f"{way} `{key}`" for key, way in objectives.items())
    return (
        f"A sweep to {goals}; what varies: {varied}.\n\n"
        "- **Front**: artifacts `front.html` (point at a plan to see it), `front.png`, `front.json`; "
        "its trials have the tag `pareto = true`.\n"
        "- **Compare**: open the runs below this one in the experiment's table, filter by "
        "`tags.pareto = 'true'`, select them, *Compare*: parallel coordinates of params and metrics.\n"
        "- **Run one again**: `python -m pipeline plan=plan.json` with the `plan.json` of any trial.\n"
        "- **Go on, or extend**: the same command again, or with a larger `sweep.n_trials` (study "
        f"`{study}`)."
    )


def print_variants(console: Console, figures: Mapping[str, Mapping[str, float]]) -> None:
    """One row a variant: how many trials it took, and how far it came."""
    table = Table("variant", title="Variants", title_justify="left")
    for heading in ("trials", "regret to the exact front", "front size"):
        table.add_column(heading, justify="right")
    for name, found in figures.items():
        regret = f"{found['regret_to_exact']:.2%}" if "regret_to_exact" in found else "n/a"
        table.add_row(name, f"{found['trials_complete']:.0f}", regret, f"{found.get('front_size', 0):.0f}")
    console.print(table)


@contextmanager
def progress(
    console: Console, source: Study, objectives: Mapping[str, str]
) -> Iterator[Callable[[SweepTrial], None]]:
    """A bar on a terminal, a line for every trial elsewhere; failures are told on both."""
    columns = (
        TextColumn("{task.completed}/{task.total} trials"),
        BarColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=source.total, completed=len(source.trials))

        def show(trial: SweepTrial) -> None:
            trials = source.trials
            best = _best(trials, objectives)
            bar.update(task, completed=len(trials), description=best)
            if trial.failure:
                console.print(f"trial {trial.number} failed: {trial.failure}", markup=False)
            elif not console.is_terminal:
                console.print(f"{len(trials)}/{source.total} trials  {best}", markup=False)

        yield show


def _best(trials: Sequence[SweepTrial], objectives: Mapping[str, str]) -> str:
    """The best value so far of each objective."""
    values = np.array([trial.values(objectives) for trial in trials if not trial.failure])
    known = [key for key, column in zip(objectives, values.T, strict=False) if np.isfinite(column).any()]
    pick = {"minimize": np.nanmin, "maximize": np.nanmax}
    columns = dict(zip(objectives, values.T, strict=False))
    return "  ".join(f"best {key} {pick[objectives[key]](columns[key]):.4g}" for key in known)
