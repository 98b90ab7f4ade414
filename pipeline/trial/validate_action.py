"""action=validate: run random plans, and log how far predictions are from measurements. Shell."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pipeline.carbon.intensity import Intensity
from pipeline.domain.trial_result import TrialResult
from pipeline.execution.job import Job, Service
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.results.figures.validation_figure import validation_figure
from pipeline.results.host_notes import host_notes
from pipeline.results.validation import comparison, errors_by_stages, prediction_errors
from pipeline.trial.answers import inputs_and_answers, require_finite_answers
from pipeline.trial.open_run import opened
from pipeline.trial.provenance import Provenance
from pipeline.trial.trial import Trial

_log = logging.getLogger(__name__)


def validate(trial: Trial, provenance: Provenance) -> TrialResult:
    """Run the plans that `validation` draws; the result's labels are the errors in percent.

    Raises ConfigError where no drawn plan fits, where a plan answers no request, and for answers that are not
    finite.
    """
    name = f"validate · {trial.model.name} · {trial.fleet.name}"
    intensity = Intensity.of(trial.fleet, trial.grid, trial.begin_utc())
    workload = Closed(trial.validation.requests)
    inputs, answers = inputs_and_answers(trial, trial.model, workload.count)
    problem = trial.problem(intensity)
    plans = trial.validation.draw(problem)
    services = [Service(problem, plan, inputs, answers) for plan in plans]
    jobs = [Job((service,), workload, intensity, datetime.now(UTC)) for service in services]
    with opened(name, trial, provenance) as run:
        runs = [
            (plan, trial.backend.run(job, trial.scheduler)) for plan, job in zip(plans, jobs, strict=True)
        ]
        for job, (_, records) in zip(jobs, runs, strict=True):
            require_finite_answers(job, records)
        table = comparison(problem, runs)
        metrics = prediction_errors(table)
        run.set_tags({"measurement": runs[0][1].measurement})
        run.log_params({"plans": len(plans), "requests": workload.count})
        run.log_metrics(metrics)
        run.log_table(table, "validation.json")
        figure = validation_figure(table, f"{trial.model.name} on {trial.fleet.name}")
        run.log_figure(figure, "validation.html")
        run.log_table(problem.profile.table, "profile.json")
        provenance.log(run)
    for note in dict.fromkeys(note for _, records in runs for note in host_notes(records, services[:1])):
        _log.warning(note)
    found = {f"{key} (%)": f"{value:.1f}" for key, value in metrics.items()} | errors_by_stages(table)
    return TrialResult(run.run_id, name, {}, found)
