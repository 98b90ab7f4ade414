"""A sweep's results: its front, tagged, drawn and printed; the knee's plan, logged for reuse. Shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from pipeline.domain.plan import Plan
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.plan_file import plan_text
from pipeline.results import repetition, significance
from pipeline.results.figures import front_figure, front_picture, schedulers_figure
from pipeline.results.front import Front
from pipeline.results.paper import saving
from pipeline.results.paper.published import Metrics
from pipeline.results.tables import comparison_table
from pipeline.results.tables.front_table import front_note, front_table, print_front
from pipeline.search.reporting.findings import COLUMNS, Findings
from pipeline.search.studies.samplers import GRID
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.mlflow_run import NOTE_TAG, Run
from pipeline.tracking.tracking import Tracking
from pipeline.tracking.ui_pages import sweep_links

SERVED = f"{ModelSpec.__module__}.{ModelSpec.__qualname__}"
"""`_target_` of the models that are built from what a store holds."""


@dataclass(frozen=True)
class Report:
    """Writes the results to the sweep's run, and prints them."""

    run: Run
    tracking: Tracking
    console: Console
    note: str
    """The description of the run in MLflow so far (Markdown)."""
    ids: Mapping[str, str]
    """Ids in MLflow of the runs that began under another id, by that id."""

    def front(self, found: Findings, all_runs: set[str]) -> pd.DataFrame:
        """Tag the front's trials, draw the front, print it, and return its table (see `front_table`).

        all_runs: ids of all runs of the sweep's trials.
        """
        means, run = found.means, self.run
        objectives = [*found.settings.objectives]
        on_front, confident = found.runs(found.on_front), found.runs(found.confident)
        pages = self.tracking.tag_front(run.run_id, on_front, all_runs - on_front)
        self.tracking.tag_front(run.run_id, confident, all_runs - confident, "pareto_confident")
        run.log_metrics({"front_size": int(found.on_front.sum())})
        run.log_figure(front_figure.front_figure(means, objectives, found.directions), "front.html")
        run.log_figure(front_picture.front_picture(means, objectives, found.directions), "front.png")
        compared = schedulers_figure.schedulers_figure(means, objectives, found.directions)
        if compared is not None:
            run.log_figure(compared, "schedulers.html")
        # The cuts and devices of the plan stand for the partitioner's keys.
        varied = [column for column in found.varied if not column.startswith("partitioner.")]
        shown = Front.of(means, objectives, found.directions)
        table = front_table(means, objectives, found.directions, varied)
        run.log_table(table.replace({"run_id": self.ids}), "front.json")
        linked = [pages[run_id] for run_id in shown.distinct()["run_id"] if run_id in pages]
        links = sweep_links(run.run_id, linked)
        run.set_tags({NOTE_TAG: f"{links}\n\n{self.note}\n\n{front_note(shown, pages)}".lstrip()})
        print_front(self.console, table, shown.mark)
        return table

    def repetitions(self, found: Findings) -> None:
        """Log and print means, intervals, dominance beyond chance, and the differences from the baseline."""
        settings, means, by = found.settings, found.means, found.varied
        names = [f"trial {number}" for number in means["number"]]
        if found.repeated or settings.baseline:
            baseline = {COLUMNS.get(key, key): value for key, value in settings.baseline.items()}
            differences = repetition.against(found.each, by, baseline) if baseline else None
            summary = comparison_table.summary_table(means, by, differences)
            self.run.log_table(summary, "summary.json")
            if settings.sampler == GRID:  # a study's points are many, and all different
                names = [" ".join(str(row[key]) for key in by) for row in means.to_dict("records")]
                comparison_table.print_summary(self.console, summary, by, [*settings.objectives], baseline)
                if found.repetitions is not None:
                    dominates = significance.dominance(found.repetitions)
                    comparison_table.print_dominance(self.console, names, dominates)
        if found.repetitions is not None:
            comparison_table.print_confident(self.console, names, found.confident)

    def comparison(
        self, here: Mapping[str, Metrics], paper: Mapping[str, Metrics] | None, *, shown: bool
    ) -> None:
        """Log two configurations' metrics side by side, and print them beside published ones.

        here, paper: metrics by the names of the configurations, the base first. shown: whether to print.
        """
        table = saving.comparison(here, paper)
        self.run.log_table(table.reset_index(), "comparison.json")
        if shown and paper:
            saving.print_comparison(self.console, table)

    def hand_on(self, trial: SweepTrial, config: DictConfig) -> str | None:
        """Log a trial's plan as a file that any backend runs and as a model that MLflow serves.

        Returns the name to register the model under; None where the trial is not one plan of one model, or
        where the model is of a class of the user's own, which is not built from what a store holds.
        """
        plan = next((result.plan for result in trial.results if result.plan), None)
        model = config.get("model")
        if plan is None or model is None or "_target_" not in model or config.get("extra_models"):
            return None
        text = plan_text(Plan(**plan), model.name, config.fleet.name)
        self.run.log_text(text, "plan.json")
        if model["_target_"] != SERVED:
            return None
        self.run.log_model(text, OmegaConf.to_yaml(model, resolve=True))
        return f"carbonedge-{model.name}-{config.fleet.name}"


def note(objectives: Mapping[str, str], dimensions: Sequence[str], study: str) -> str:
    """The description of the sweep's run in MLflow: how to compare and resume its trials (Markdown)."""
    varied = ", ".join(f"`{key}`" for key in dimensions) or "nothing"
    goals = " and ".join(f"{way} `{key}`" for key, way in objectives.items())
    return (
        f"A sweep to {goals}; it varies {varied}.\n\n"
        "- **Front**: artifacts `front.html` (point at a plan to see it), `front.png`, `front.json`; "
        "its trials have the tag `pareto = true`.\n"
        "- **Compare others**: in the table of all runs, filter by `tags.pareto = 'true'` or by another "
        "condition, tick runs, *Compare*: parallel coordinates of params and metrics.\n"
        "- **Run one again**: `python -m pipeline plan=plan.json` with the `plan.json` of any trial.\n"
        "- **Resume, or extend**: the same command again, or with a larger `sweep.n_trials` (study "
        f"`{study}`)."
    )


def print_variants(console: Console, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print a row for each variant: its trials, its regret, the size of its front.

    figures: the sweep's metrics, by variant.
    """
    table = Table("variant", title="Variants", title_justify="left")
    for heading in ("trials", "regret to the exact front", "front size"):
        table.add_column(heading, justify="right")
    for name, found in figures.items():
        regret = f"{found['regret_to_exact']:.2%}" if "regret_to_exact" in found else "n/a"
        table.add_row(name, f"{found['trials_complete']:.0f}", regret, f"{found.get('front_size', 0):.0f}")
    console.print(table)
