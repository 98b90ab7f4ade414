"""What a person should know who chose a scheduler: that it decided nothing, or that carbon did not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import AUTO
from pipeline.domain.records import Records
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.job import Job, Service
from pipeline.execution.scheduler import CarbonWeighing, Scheduler
from pipeline.results.summary import NO_DECISIONS
from pipeline.results.units import scaled, scaled_label
from pipeline.trial.accounted_run import accounted_run
from pipeline.trial.trial import Trial

MOST_TASKS = 2_000
"""Most tasks of a run that is simulated again, which takes some tenths of a second."""
NOTED_SAVING = 0.01
"""Share of a run's carbon, below which it is not told that carbon alone would save it."""


def scheduler_notes(
    trial: Trial, job: Job, records: Records, choices: Mapping[str, str], overrides: Sequence[str]
) -> list[str]:
    """At most one line; choices: the config's choice of each group; overrides: those of the command line."""
    name = choices.get("scheduler", type(trial.scheduler).__name__)
    if not any(AUTO in service.plan.devices for service in job.services):
        asked = any(override.lstrip("+").startswith(("scheduler=", "scheduler.")) for override in overrides)
        return [f"scheduler={name} has no effect: {NO_DECISIONS}"] if asked else []
    if not isinstance(trial.scheduler, CarbonWeighing) or not 0 < len(records.table) <= MOST_TASKS:
        return []
    try:
        return _carbon_decides_nothing(trial, job, trial.scheduler, name)
    except ConfigError:  # with other weights a request may find no device
        return []


def _carbon_decides_nothing(trial: Trial, job: Job, scheduler: CarbonWeighing, name: str) -> list[str]:
    """A line where the tasks go to the same devices without the carbon term, and carbon alone emits less."""
    if scheduler.weighing_carbon(0.0) == trial.scheduler:  # as was asked
        return []
    own, own_g = _simulated(trial, job, trial.scheduler)
    without, _ = _simulated(trial, job, scheduler.weighing_carbon(0.0))
    _, least_g = _simulated(trial, job, scheduler.weighing_carbon(1.0))
    if own != without or not least_g < own_g * (1 - NOTED_SAVING):
        return []
    unit, factor = scaled_label("carbon_g_per_inf", [own_g, least_g])
    return [
        f"scheduler={name}: its carbon term decides nothing here, as each task goes to the same device "
        f"without it. {unit}, simulated: {scaled(factor, own_g)}; {scaled(factor, least_g)} with "
        "scheduler.carbon_weight=1"
    ]


def _simulated(trial: Trial, job: Job, scheduler: Scheduler) -> tuple[list[tuple[int, int, str]], float]:
    """The device of each task, and grams per inference, if the run is simulated with a scheduler."""
    services = tuple(Service(service.problem, service.plan) for service in job.services)
    settings = replace(trial, backend=Simulated(), scheduler=scheduler, per_request=True)
    records, _, summary = accounted_run(settings, replace(job, services=services))
    tasks = records.table[records.table["kind"] == "compute"]
    placed = tasks[["request", "stage", "device"]].astype({"device": str})
    return sorted(placed.itertuples(index=False, name=None)), summary.metrics()["carbon_g_per_inf"]
