"""One configuration from end to end. conf/config.yaml is this class's constructor call."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pandas as pd
import torch

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grid import Grid, require_average
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.carbon.meters.apportioned import apportioned
from pipeline.carbon.meters.reading import Meter, NoMeter, Reading
from pipeline.domain.checks import ConfigError, require, require_whole, utc
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import COMPRESSIONS, require_compression
from pipeline.domain.profile import Profile
from pipeline.domain.records import Records, by_request
from pipeline.domain.trial_result import TrialResult
from pipeline.execution.backend import Backend
from pipeline.execution.devices.profiler import Profiler
from pipeline.execution.hindsight.oracle import regret
from pipeline.execution.job import Job, Outage, Service
from pipeline.execution.scheduler import Scheduler, scheduler_for
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.workload import Workload
from pipeline.host.locks import machine_lock
from pipeline.network.graph import Graph
from pipeline.network.images import Images
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.cost import require_connected
from pipeline.planning.plan_file import plan_text, read_plan
from pipeline.planning.problem import Partitioner, Problem
from pipeline.results.metrics import Summary, output_max_abs_error, run_name, top1_agreement
from pipeline.results.validation import Validation, comparison, prediction_errors, scatter
from pipeline.tracking.datasets import datasets
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.tracking import Tracking

_log = logging.getLogger(__name__)
SOFTWARE = (
    "carbonedge",
    "torch",
    "torchvision",
    "timm",
    "mlflow",
    "hydra-core",
    "codecarbon",
    "pandas",
    "numpy",
)
"""Whose versions are kept with a run."""
SHOWN_FIRST = ("carbon_g_per_inf", "latency_ms_p50")
"""MLflow's compare page draws the metric that was logged first."""
ACTIONS = ("run", "profile", "validate")


@dataclass(frozen=True)
class Provenance:
    """Where a configuration came from: the choice in each config group, the whole config, the overrides."""

    choices: Mapping[str, str]
    config_yaml: str
    overrides: Sequence[str]

    def varied(self) -> dict[str, str]:
        """The overrides as flat params, without those that say how to sweep and where to log."""
        pairs = [override.lstrip("+~").partition("=") for override in self.overrides]
        about_sweep = ("hydra", "tracking", "sweep", "experiment")
        # Of a choice put somewhere else (`model@extra_models.x`) MLflow takes the place, and no `@`.
        return {key.rpartition("@")[2]: value for key, _, value in pairs if not key.startswith(about_sweep)}


@dataclass(frozen=True)
class Trial:
    """A model cut, placed and run on a fleet, and what it emitted."""

    model: ModelSpec
    fleet: Fleet
    grid: Grid
    workload: Workload
    images: Images
    partitioner: Partitioner
    scheduler: Scheduler
    backend: Backend
    profiler: Profiler
    accounting: Accounting
    meter: Meter
    tracking: Tracking
    compression: str = COMPRESSIONS[0]
    """Of the tensors that cross between devices."""
    action: str = "run"
    """run; profile: measure (or look up) the profile, log it, and stop there; validate: run random plans
    instead of the partitioner's and log how far their predictions are from what was measured."""
    validation: Validation = field(default_factory=Validation)
    plan: str | None = None
    """A file with the plan to run instead of the partitioner's: the plan.json of a run."""
    start_utc: str | None = None
    """When the run takes place, for grids that vary, as in 2021-06-01T00:00; None: now."""
    oracle: bool = False
    """Whether to hold the run against the best schedule in hindsight, which may take a minute."""
    outages: tuple[Outage, ...] = ()
    """Devices that are gone for a while, in the config a list of {device, at_s, duration_s}."""
    extra_models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """By any name: models that share the fleet with `model`, for classes of requests that ask for them."""
    repeat: int = 0
    """The number of a repetition: trials that differ by it alone are the same configuration."""
    per_request: bool = True
    """Whether records and ledger of each request are kept and logged; else memory does not grow."""

    def __post_init__(self) -> None:
        require(self.action in ACTIONS, f"action: must be one of {', '.join(ACTIONS)} ({self.action!r})")
        require_compression("compression", self.compression)
        require(isinstance(self.oracle, bool), f"oracle: must be true or false ({self.oracle!r})")
        require(
            isinstance(self.per_request, bool), f"per_request: must be true or false ({self.per_request!r})"
        )
        require(
            self.per_request or not self.backend.computes,
            "per_request: a run that computes checks each answer; only backend=simulated can do without",
        )
        require(
            self.per_request or not self.oracle,
            "oracle: it needs the records of each request (oracle: true, per_request: false)",
        )
        require(
            self.plan is None or isinstance(self.plan, str),
            f"plan: must be a file's path (it is {self.plan!r})",
        )
        require(
            self.plan is None or not self.extra_models,
            "plan: several models share the fleet, and a plan file is of one",
        )
        require_average(self.grid)
        require_whole("config", "repeat", self.repeat)
        self._start_utc()
        object.__setattr__(self, "outages", Outage.all(self.outages, self.fleet))
        self._require_models_asked_for()

    def run(self, provenance: Provenance) -> TrialResult:
        """Run it, log it, and say how it went.

        Raises ConfigError for bad input and for a plan that its devices cannot hold, before a run is opened.
        A stage on auto that no device can hold, or requests that are all refused, raise it too and leave a
        FAILED run whose tag `failure` says why.
        """
        self.tracking.check()
        torch.set_num_threads(1)
        start_utc = self._start_utc()
        intensity = Intensity.of(self.fleet, self.grid, start_utc, self.workload.horizon_s)
        if self.action == "profile":
            return self._log_profile(provenance, self._problem(intensity).profile)
        if self.action == "validate":
            return self._validate(provenance, self._problem(intensity), intensity)
        services = tuple(self._service(spec, intensity) for spec in self.models)
        job = Job(services, self.workload, intensity, start_utc, self.outages)

        with self.tracking.open_run(self.model.name, self._tags(provenance), self._params(provenance)) as run:
            # What another run draws meanwhile is not this one's.
            alone = contextlib.nullcontext() if isinstance(self.meter, NoMeter) else machine_lock()
            with alone, self.meter.measure() as host:
                records, ledger, summary = self._accounted(job)
            metrics = summary.metrics() | host.metrics | self._agreement(job, records)
            if "host_energy_j" in metrics and metrics["requests_ok"]:
                metrics["host_j_per_inf"] = metrics["host_energy_j"] / metrics["requests_ok"]
            if self.oracle and (found := regret(job, records, ledger)) is not None:
                metrics["regret_to_oracle"] = found
            labels = summary.labels(provenance.choices)
            name, stated = run_name(int(metrics["stages"]), labels), summary.boundary(self.grid.about())
            run.set_tags(
                {
                    "mlflow.runName": name,
                    "scheduler": labels["scheduler"],
                    "measurement": records.measurement,
                    "host_meter": host.method,
                    "boundary": stated,
                }
            )
            run.log_params({"stages": int(metrics["stages"]), **labels})
            first = {key: metrics[key] for key in SHOWN_FIRST if key in metrics}
            run.log_metrics(first | metrics)
            run.log_inputs(datasets(services, self.images, self.workload, self.grid))
            run.log_table(ledger, "ledger.json")
            run.log_text(self._about(records, host, stated), "run.json")
            if "host_energy_j" in metrics:
                run.log_table(apportioned(metrics["host_energy_j"], records, self.fleet), "meter.json")
            if self.per_request:
                run.log_table(records.table, "records.json")
            if len(classes := summary.classes(self.workload.classes)) > 1:
                run.log_table(classes, "classes.json")
            profiles = [s.problem.profile.table.assign(model=s.problem.graph.name) for s in services]
            run.log_table(pd.concat(profiles, ignore_index=True), "profile.json")
            _log_provenance(run, provenance)
            placed = summary.as_it_ran()
            if placed is not None:
                run.log_text(plan_text(placed, self.model.name, self.fleet.name), "plan.json")
            reason = min(summary.reasons, default="")
            require(metrics["requests_ok"] > 0, f"every request was refused: {reason}")
        return TrialResult(run.run_id, name, metrics, labels, asdict(placed) if placed else None, stated)

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """The config's own, and those that share the fleet with it."""
        return (self.model, *self.extra_models.values())

    def _require_models_asked_for(self) -> None:
        require(
            isinstance(self.extra_models, Mapping),
            f"extra_models: must be a mapping (it is {self.extra_models!r})",
        )
        known = {self.model.name: "model"}
        asked = {each.model for each in self.workload.classes}
        for key, spec in self.extra_models.items():
            owner = f"extra_models.{key}"
            require(isinstance(spec, ModelSpec), f"{owner}: must be a model, as by +model@{owner}=resnet50")
            require(
                spec.name not in known, f"{owner}: {spec.name!r} is already there ({known.get(spec.name)})"
            )
            known[spec.name] = owner
            require(
                spec.name in asked or self.action != "run",
                f"{owner}: no class of requests asks for {spec.name!r} (workload.classes.NAME.model)",
            )
        for each in self.workload.classes:
            require(
                each.model is None or each.model in known,
                f"workload.classes.{each.name}.model: unknown model {each.model!r} (the run has "
                f"{', '.join(known)}; more come by +model@extra_models.NAME=CHOICE)",
            )

    def _service(self, spec: ModelSpec, intensity: Intensity) -> Service:
        inputs = self.images.inputs(spec, self.workload.count) if self.backend.computes else ()
        problem = self._problem(intensity, spec)
        plan = self.partitioner.partition(problem) if self.plan is None else read_plan(self.plan, problem)
        require_connected(problem, plan)
        return Service(problem, plan, inputs)

    def _accounted(self, job: Job) -> tuple[Records, pd.DataFrame, Summary]:
        """Run it: its records, its ledger, and the sum of both. Part by part unless each request is kept."""
        summary = Summary(job.services, self.accounting)
        intensity, covered_s = job.intensity, job.workload.horizon_s

        def add(records: Records) -> pd.DataFrame:
            nonlocal intensity, covered_s
            until_s = max(records.window_s, records.table["end_s"].max() if len(records.table) else 0.0)
            if until_s > covered_s:  # nobody knew how long a closed loop would take
                intensity, covered_s = self._covering(intensity, job.start_utc, until_s), until_s
            ledger = account(records, self.fleet, intensity, self.accounting)
            summary.add(records, ledger)
            return ledger

        if self.per_request:
            records = self.backend.run(job, scheduler_for(job, self.scheduler))
            return records, add(records), summary
        records = self.backend.run(replace(job, sink=add), scheduler_for(job, self.scheduler))
        add(records)
        return records, summary.ledger(), summary

    def _covering(self, known: Intensity, start_utc: datetime, until_s: float) -> Intensity:
        """The grid's intensity further on; where the grid ends before that, its last value holds."""
        try:
            return Intensity.of(self.fleet, self.grid, start_utc, until_s)
        except ConfigError as error:
            _log.warning("the last intensity known is taken to hold to the end of the run: %s", error)
        covered_s, beyond_s = float(known.since_s[-1]), until_s
        for _ in range(12):  # to a four-thousandth of the run
            middle_s = (covered_s + beyond_s) / 2
            try:
                known, covered_s = Intensity.of(self.fleet, self.grid, start_utc, middle_s), middle_s
            except ConfigError:
                beyond_s = middle_s
        return known

    def problem(self) -> Problem:
        """All that a partitioner may know, as of now; it measures the profile where none is kept."""
        return self._problem(Intensity.of(self.fleet, self.grid, self._start_utc()))

    def _problem(self, intensity: Intensity, spec: ModelSpec | None = None) -> Problem:
        spec = spec or self.model
        _, graph = _model(spec, self.models)
        profile = self.profiler.profile(spec, graph, self.fleet)
        return Problem(graph, self.fleet, profile, intensity.at(0.0), self.compression, self.accounting.idle)

    def _start_utc(self) -> datetime:
        if self.start_utc is None:
            return datetime.now(UTC)
        return utc("start_utc", self.start_utc)

    def _about(self, records: Records, host: Reading, stated: str) -> str:
        """What accounting and audits need beside the tables, as JSON."""
        installed = {name: metadata.version(name) for name in SOFTWARE}
        about = records.about() | {"grid": dict(self.grid.about())}
        about["meter"] = {"method": host.method, **host.about}
        about["boundary"] = stated
        return json.dumps(about | {"software": {"python": platform.python_version(), **installed}}, indent=1)

    def _log_profile(self, provenance: Provenance, profile: Profile) -> TrialResult:
        name = f"profile · {self.model.name} · {self.fleet.name}"
        with self.tracking.open_run(name, self._tags(provenance), self._params(provenance)) as run:
            run.log_table(profile.table, "profile.json")
            run.log_params({f"speed.{device}": f"{value:.4g}" for device, value in profile.speeds.items()})
            _log_provenance(run, provenance)
        whole_ms = {f"{d} (ms)": f"{profile.cumulative_s(d)[-1] * 1e3:.2f}" for d in profile.speeds}
        return TrialResult(run.run_id, name, {}, whole_ms)

    def _validate(self, provenance: Provenance, problem: Problem, intensity: Intensity) -> TrialResult:
        name = f"validate · {self.model.name} · {self.fleet.name}"
        plans = self.validation.draw(problem)
        workload = Closed(self.validation.requests)
        inputs = self.images.inputs(self.model, workload.count)
        services = [Service(problem, plan, inputs) for plan in plans]
        jobs = [Job((s,), workload, intensity, datetime.now(UTC)) for s in services]
        with self.tracking.open_run(name, self._tags(provenance), self._params(provenance)) as run:
            runs = [
                (plan, self.backend.run(job, self.scheduler)) for plan, job in zip(plans, jobs, strict=True)
            ]
            table = comparison(problem, runs)
            metrics = prediction_errors(table)
            run.set_tags({"measurement": runs[0][1].measurement})
            run.log_params({"plans": len(plans), "requests": workload.count})
            run.log_metrics(metrics)
            run.log_table(table, "validation.json")
            run.log_figure(scatter(table, f"{self.model.name} on {self.fleet.name}"), "validation.html")
            run.log_table(problem.profile.table, "profile.json")
            _log_provenance(run, provenance)
        found = {f"{key} (%)": f"{value:.1f}" for key, value in metrics.items()}
        return TrialResult(run.run_id, name, {}, found)

    def _tags(self, provenance: Provenance) -> dict[str, str]:
        families = ("partitioner", "scheduler", "backend", "grid")
        chosen = {family: provenance.choices.get(family, "") for family in families}
        return {"model": self.model.name, "fleet": self.fleet.name, **chosen}

    def _params(self, provenance: Provenance) -> dict[str, Any]:
        return {**provenance.varied(), "model": self.model.name, "fleet": self.fleet.name}

    def _agreement(self, job: Job, records: Records) -> dict[str, float]:
        """How near the answers are to the unsplit models' on the same images, where there are answers."""
        if not records.outputs:
            return {}
        answers = {}
        with torch.inference_mode():
            for spec, service in zip(self.models, job.services, strict=True):
                module, graph = _model(spec, self.models)
                answers[graph.name] = [module(x) for x in service.inputs]
        requests = by_request(records)
        asked = requests.loc[~requests["failed"], "model"].items()
        expected = [answers[str(model)][int(str(k)) % len(answers[str(model)])] for k, model in asked]
        return {
            "top1_agreement": top1_agreement(records.outputs, expected),
            "output_max_abs_error": output_max_abs_error(records.outputs, expected),
        }


def _log_provenance(run: Run, provenance: Provenance) -> None:
    run.log_text(provenance.config_yaml, "config.yaml")
    run.log_text("".join(f"- {override}\n" for override in provenance.overrides), "overrides.yaml")


_models: dict[str, tuple[torch.nn.Module, Graph]] = {}


def _model(spec: ModelSpec, kept: Sequence[ModelSpec]) -> tuple[torch.nn.Module, Graph]:
    """The model and its graph; those of the last trial are kept, since a sweep's trials mostly share them."""
    key = repr(spec)
    if key not in _models:
        module = spec.build()
        example = torch.zeros(1, 3, spec.input_size, spec.input_size)
        for old in _models.keys() - {repr(each) for each in kept}:
            del _models[old]
        _models[key] = module, Graph.of(module, example, spec.name)
    return _models[key]
