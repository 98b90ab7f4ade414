"""`carbonedge paper`: the paper's tables and figures, measured here, beside the published ones. Shell.

Runs experiment=paper_tables and paper_weights, finds the exact front of each model, and writes one page:
paper.html and paper.md, which the MLflow run keeps too. A second call resumes an interrupted one and repeats
no measurement.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.terminal import cli
from pipeline.domain.checks import require

if TYPE_CHECKING:
    from pipeline.planning.exact_front import ExactFront
    from pipeline.results.paper.measured import Repetition
    from pipeline.results.paper.page import Page
    from pipeline.search.studies.sweep_trial import SweepTrial
    from pipeline.tracking.stored import Stored
    from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge paper [KEY=VALUE ...]",
    "Measures the tables and figures of the CarbonEdge paper here, and writes them beside the published "
    "ones.",
    "carbonedge paper workload.requests=20",
)


def paper(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Run the missing measurements, and write the page into the working directory and into MLflow."""
    from hydra.utils import instantiate

    from pipeline.results.pages.output_file import write_output
    from pipeline.results.terminal import terminal

    config = cli.config(["experiment=paper_tables", *overrides])
    tracking: Tracking = instantiate(config.tracking)
    tracking.check()
    with tracking.open_run("paper", {"sweep": "paper"}, {}) as run:
        page = _page(tracking, overrides, run.run_id)
        for path, text in (("paper.html", page.html()), ("paper.md", page.markdown())):
            run.log_text(text, path)
            write_output(Path(path), text)
    console = terminal()
    console.print(page.markdown())
    console.print(f"wrote paper.html and paper.md\n{tracking.farewell()}")


def _page(tracking: Tracking, overrides: Sequence[str], parent_run_id: str) -> Page:
    """The page of both experiments, whose sweeps are children of the parent run."""
    from pipeline.commands.run import multirun
    from pipeline.results.paper.measured import measured, models, switches
    from pipeline.results.paper.page import Page, about

    inside = f"tracking.parent_run_id={parent_run_id}"
    tables = multirun(["experiment=paper_tables", *overrides, inside])
    weights = multirun(["experiment=paper_weights", *overrides, inside])
    done = [trial for trial in tables if trial.results and not trial.failure]
    require(len(done) > 0, "no configuration of experiment=paper_tables was measured")
    weighed = [
        {**trial.point, **trial.results[0].labels, **trial.metrics} for trial in weights if trial.results
    ]
    require(len(weighed) > 0, "no configuration of experiment=paper_weights was measured")
    stored = {result.run_id: tracking.stored(result.run_id) for trial in done for result in trial.results}
    figures = measured(repetitions(done, stored))
    fronts = {model: _front(model, overrides) for model in models(figures)}
    measured_on = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()}"
    tags = next(iter(stored.values())).tags
    return Page.of(figures, switches(weighed), fronts, about(figures, tags, measured_on))


def repetitions(trials: Iterable[SweepTrial], stored: Mapping[str, Stored]) -> Iterator[Repetition]:
    """The repetitions of all trials with the tables of their runs, checked; stored: the runs by id.

    Raises ConfigError naming run and artifact for what cannot be.
    """
    from pipeline.carbon.apportioned import apportioned
    from pipeline.commands.stored_run import StoredRun
    from pipeline.results.paper.measured import Repetition

    for trial in trials:
        for repeat, result in enumerate(trial.results):
            run = StoredRun.of(stored[result.run_id])
            require(run.records is not None, f"{stored[result.run_id].owner}: has no records.json")
            assert run.records is not None
            host_j = run.figures.get("host_energy_j")
            yield Repetition(
                stored[result.run_id].tags["model"],
                repeat,
                trial.point,
                replace(result, metrics=run.figures),
                run.records.table,
                run.ledger,
                None if host_j is None else apportioned(host_j, run.records, run.fleet),
            )


def _front(model: str, overrides: Sequence[str]) -> ExactFront:
    """The exact front of a model on the paper's nodes, by the profile that its trials measured."""
    from hydra.utils import instantiate

    from pipeline.planning.exact_front import exact_front
    from pipeline.search.jobs import trial_config
    from pipeline.trial.trial import Trial

    kept = [each for each in overrides if not each.lstrip("+~").startswith(("sweep", "hydra"))]
    kept += [] if any(each.startswith("model=") for each in kept) else [f"model={model}"]
    trial: Trial = instantiate(trial_config(cli.config(kept)))
    return exact_front(trial.problem())


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(paper, HELP, num_names=0)
