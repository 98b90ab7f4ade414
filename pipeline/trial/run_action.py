"""action=run: run a plan, account it, and log the results. Shell."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
from dataclasses import asdict
from importlib import metadata
from typing import Any

import pandas as pd

from pipeline.carbon.apportioned import apportioned
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.meters.reading import NoMeter, Reading, metered
from pipeline.domain.checks import require
from pipeline.domain.plan import Plan
from pipeline.domain.records import Records, by_request
from pipeline.domain.trial_result import TrialResult
from pipeline.execution.hindsight.oracle import regret
from pipeline.execution.job import Job, Service
from pipeline.host.locks import machine_lock
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.cost import require_connected
from pipeline.planning.fitting import require_fits
from pipeline.planning.plan_file import plan_text, read_plan
from pipeline.planning.problem import Partitioner, Problem
from pipeline.results.host_notes import host_notes
from pipeline.results.metrics import output_max_abs_error, require_answers, run_name, top1_agreement
from pipeline.results.summary import Summary
from pipeline.tracking.datasets import datasets
from pipeline.tracking.mlflow_run import Run
from pipeline.trial.accounted_run import accounted_run
from pipeline.trial.answers import Tensors, inputs_and_answers, require_finite_answers
from pipeline.trial.built_models import built
from pipeline.trial.open_run import opened
from pipeline.trial.provenance import Provenance
from pipeline.trial.scheduler_notes import scheduler_notes
from pipeline.trial.trial import Trial

SOFTWARE = (
    "carbonedge", "torch", "torchvision", "timm", "mlflow", "hydra-core", "codecarbon", "pandas", "numpy",
)  # fmt: skip
"""Distributions whose versions a run keeps."""
_log = logging.getLogger(__name__)
SHOWN_FIRST = ("carbon_g_per_inf", "latency_ms_p50")
"""Metrics to log before the others: MLflow's compare page draws the first."""


def run(trial: Trial, provenance: Provenance) -> TrialResult:
    """Run the plan of the partitioner, or of the file `plan`, and log records, ledger and metrics.

    Raises ConfigError for a plan that does not fit, where no request was answered, and for answers that are
    not finite: the unsplit model's before anything runs, those of the run after it is logged.
    """
    job = _job(trial)
    with opened(trial.model.name, trial, provenance) as opened_run:
        # A meter reads the whole host: no other metered run may draw power at the same time.
        alone = contextlib.nullcontext() if isinstance(trial.meter, NoMeter) else machine_lock()
        with alone, metered(trial.meter) as host:
            records, ledger, summary = accounted_run(trial, job)
        metrics = _metrics(trial, job, records, ledger, summary, host)
        labels = summary.labels(provenance.choices)
        settings = provenance.varied()
        varied = {key: settings[key] for key in trial.tracking.names_varied if key in settings}
        name, stated = run_name(labels, varied), summary.boundary(trial.grid.about())
        if host.problem:
            _log.warning("the run has no reading of this host's energy: %s", host.problem)
        for note in (notes := host_notes(records, job.services)):
            _log.warning(note)
        if not provenance.swept:  # a sweep compares schedulers itself
            for note in scheduler_notes(trial, job, records, provenance.choices, provenance.overrides):
                _log.warning(note)
        opened_run.set_tags(
            {
                "mlflow.runName": name,
                "scheduler": labels["scheduler"],
                "measurement": records.measurement,
                "host_meter": host.method,
                "boundary": stated,
                **({"host_notes": "; ".join(notes)} if notes else {}),
            }
        )
        opened_run.log_params({"stages": int(metrics["stages"]), **labels})
        first = {key: metrics[key] for key in SHOWN_FIRST if key in metrics}
        opened_run.log_metrics(first | metrics)
        _log_artifacts(opened_run, trial, job, records, ledger, summary)
        opened_run.log_text(_about(trial, job, records, host, stated), "run.json")
        if "host_energy_j" in metrics:
            shares = apportioned(metrics["host_energy_j"], records, trial.fleet)
            opened_run.log_table(shares, "meter.json")
        provenance.log(opened_run)
        placed = summary.as_it_ran()
        if placed is not None:
            opened_run.log_text(plan_text(placed, trial.model.name, trial.fleet.name), "plan.json")
        require_answers(metrics, trial.workload.horizon_s, summary.reasons)
        require_finite_answers(job, records)
    plan = asdict(placed) if placed else None
    return TrialResult(opened_run.run_id, name, metrics, labels, plan, stated)


def _job(trial: Trial) -> Job:
    start_utc = trial.begin_utc()
    # A model with answers that are not finite is refused before its profile is measured.
    asked = [inputs_and_answers(trial, spec, trial.workload.count) for spec in trial.models]
    intensity = Intensity.of(trial.fleet, trial.grid, start_utc, trial.workload.horizon_s)
    services = tuple(
        _service(trial, spec, intensity, *tensors) for spec, tensors in zip(trial.models, asked, strict=True)
    )
    return Job(services, trial.workload, intensity, start_utc, trial.outages)


def _service(
    trial: Trial, spec: ModelSpec, intensity: Intensity, inputs: Tensors, answers: Tensors
) -> Service:
    # A plan that does not fit is refused before the profile is measured, which takes minutes.
    given = None
    if trial.plan is not None:
        given = read_plan(trial.plan, built(spec, trial.models)[1], trial.fleet, trial.compression)
    problem = trial.problem(intensity, spec)
    plan = given or _answer(trial.partitioner, problem)
    require_connected(problem, plan)
    return Service(problem, plan, inputs, answers)


def _answer(partitioner: Partitioner, problem: Problem) -> Plan:
    """The partitioner's plan. Raises ConfigError naming it where it answers none, or one for another run."""
    plan, name = partitioner.partition(problem), type(partitioner).__name__
    answered = f"partitioner: {name} answered {plan!r:.100}"
    require(isinstance(plan, Plan), f"{answered} for {problem.graph.name}: it must be a Plan")
    require_fits(f"partitioner: the plan of {name}", plan, problem.graph, problem.fleet, problem.compression)
    return plan


def _metrics(
    trial: Trial, job: Job, records: Records, ledger: pd.DataFrame, summary: Summary, host: Reading
) -> dict[str, float]:
    metrics = summary.metrics() | host.metrics | _agreement(job, records)
    if "host_energy_j" in metrics and metrics["requests_ok"]:
        metrics["host_j_per_inf"] = metrics["host_energy_j"] / metrics["requests_ok"]
    if trial.oracle and (found := regret(job, records, ledger)) is not None:
        metrics["regret_to_oracle"] = found
    return metrics


def _agreement(job: Job, records: Records) -> dict[str, float]:
    """How close the answers are to the unsplit models' on the same images, where the run computed answers."""
    if not records.outputs:
        return {}
    answers = {service.problem.graph.name: service.answers for service in job.services}
    requests = by_request(records)
    asked = requests.loc[~requests["failed"], "model"].items()
    expected = [answers[str(model)][int(str(k)) % len(answers[str(model)])] for k, model in asked]
    return {
        "top1_agreement": top1_agreement(records.outputs, expected),
        "output_max_abs_error": output_max_abs_error(records.outputs, expected),
    }


def _log_artifacts(
    run: Run, trial: Trial, job: Job, records: Records, ledger: pd.DataFrame, summary: Summary
) -> None:
    run.log_inputs(datasets(job.services, trial.images, trial.workload, trial.grid))
    run.log_table(ledger, "ledger.json")
    if trial.per_request:
        run.log_table(records.table, "records.json")
    if len(classes := summary.classes(trial.workload.classes)) > 1:
        run.log_table(classes, "classes.json")
    profiles = [s.problem.profile.table.assign(model=s.problem.graph.name) for s in job.services]
    run.log_table(pd.concat(profiles, ignore_index=True), "profile.json")


def _about(trial: Trial, job: Job, records: Records, host: Reading, stated: str) -> str:
    """The facts that accounting and audits need beside the tables, as JSON."""
    installed = {name: metadata.version(name) for name in SOFTWARE}
    about = records.about() | {"grid": dict(trial.grid.about())}
    about["meter"] = {"method": host.method, **host.about}
    about["boundary"] = stated
    about["profile"] = {s.problem.graph.name: _profiled(s) for s in job.services}
    return json.dumps(about | {"software": {"python": platform.python_version(), **installed}}, indent=1)


def _profiled(service: Service) -> dict[str, Any]:
    """When and how a service's profile was measured."""
    profile = service.problem.profile
    measured = {} if profile.measured is None else asdict(profile.measured)
    return measured | {"reference_cpu_s": profile.reference_cpu_s}
