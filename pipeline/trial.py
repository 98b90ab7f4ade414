"""One configuration from end to end. conf/config.yaml is this class's constructor call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from pipeline.cost import require_connected
from pipeline.domain import (
    COMPRESSIONS,
    Backend,
    ConfigError,
    Fleet,
    Grid,
    Job,
    Outage,
    Partitioner,
    Pictures,
    Problem,
    Records,
    Scheduler,
    Service,
    TrialResult,
    Workload,
    require,
    require_compression,
)
from pipeline.graph import Graph
from pipeline.grid import Intensity
from pipeline.ledger import Accounting, account
from pipeline.meter import Meter
from pipeline.metrics import as_it_ran, labels_of, output_max_abs_error, run_name, summarise, top1_agreement
from pipeline.models import ModelSpec
from pipeline.oracle import regret
from pipeline.profile import Profile, Profiler
from pipeline.tracking import Run, Tracking
from pipeline.validation import Validation, comparison, prediction_errors, scatter
from pipeline.workload import Closed

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
        return {key: value for key, _, value in pairs if not key.startswith(about_sweep)}


@dataclass(frozen=True)
class Trial:
    """A model cut, placed and run on a fleet, and what it emitted."""

    model: ModelSpec
    fleet: Fleet
    grid: Grid
    workload: Workload
    pictures: Pictures
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
    start_utc: str | None = None
    """When the run takes place, for grids that vary, as in 2021-06-01T00:00; None: now."""
    oracle: bool = False
    """Whether to hold the run against the best schedule in hindsight, which may take a minute."""
    outages: tuple[Outage, ...] = ()
    """Devices that are gone for a while, in the config a list of {device, at_s, for_s}."""

    def __post_init__(self) -> None:
        require(self.action in ACTIONS, f"action: must be one of {', '.join(ACTIONS)} ({self.action!r})")
        require_compression("compression", self.compression)
        require(isinstance(self.oracle, bool), f"oracle: must be true or false ({self.oracle!r})")
        self._start_utc()
        object.__setattr__(self, "outages", Outage.all(self.outages, self.fleet))

    def run(self, provenance: Provenance) -> TrialResult:
        """Run it, log it, and say how it went.

        Raises ConfigError for bad input and for a plan that its devices cannot hold, before a run is opened.
        A stage on auto that no device can hold, or requests that are all refused, raise it too and leave a
        FAILED run whose tag `failure` says why.
        """
        self.tracking.check()
        torch.set_num_threads(1)
        inputs = self.pictures.inputs(self.model, self.workload.count) if self.backend.computes else ()
        module, _ = _model(self.model)
        start_utc = self._start_utc()
        intensity = Intensity.of(self.fleet, self.grid, start_utc, self.workload.horizon_s)
        problem = self._problem(intensity)
        if self.action == "profile":
            return self._log_profile(provenance, problem.profile)
        if self.action == "validate":
            return self._validate(provenance, problem, intensity)
        plan = self.partitioner.partition(problem)
        require_connected(problem, plan)
        service = Service(problem, plan, inputs)
        job = Job((service,), self.workload, self.scheduler, intensity, start_utc, self.outages)

        with self.tracking.open_run(self.model.name, self._tags(provenance), self._params(provenance)) as run:
            with self.meter.measure() as host:
                records = self.backend.run(job)
            ledger = account(records, self.fleet, intensity, self.accounting)
            metrics = summarise(problem, plan, records, ledger) | host.metrics
            metrics |= self._agreement(module, inputs, records)
            if self.oracle and (found := regret(job, records, ledger)) is not None:
                metrics["regret_to_oracle"] = found
            labels = labels_of(provenance.choices, plan, records)
            name = run_name(plan, labels)
            run.set_tags(
                {
                    "mlflow.runName": name,
                    "scheduler": labels["scheduler"],
                    "measurement": records.measurement,
                    "host_meter": host.method,
                }
            )
            run.log_params({"stages": plan.num_stages, **labels})
            run.log_metrics(metrics)
            run.log_table(ledger, "ledger.json")
            run.log_table(records.table, "records.json")
            run.log_table(problem.profile.table, "profile.json")
            _log_provenance(run, provenance)
            reasons = records.table.loc[records.table["status"] == "failed", "reason"].astype(str)
            require(metrics["requests_ok"] > 0, f"every request was refused: {min(reasons, default='')}")
        placed = as_it_ran(plan, records)
        return TrialResult(run.run_id, name, metrics, labels, asdict(placed) if placed else None)

    def problem(self) -> Problem:
        """All that a partitioner may know, as of now; it measures the profile where none is kept."""
        return self._problem(Intensity.of(self.fleet, self.grid, self._start_utc()))

    def _problem(self, intensity: Intensity) -> Problem:
        _, graph = _model(self.model)
        profile = self.profiler.profile(self.model, graph, self.fleet)
        return Problem(graph, self.fleet, profile, intensity.at(0.0), self.compression, self.accounting.idle)

    def _start_utc(self) -> datetime:
        if self.start_utc is None:
            return datetime.now(UTC)
        try:
            start = datetime.fromisoformat(self.start_utc)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"start_utc: must be a time as in 2021-06-01T00:00, or null ({self.start_utc!r})"
            ) from error
        return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)

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
        inputs = self.pictures.inputs(self.model, workload.count)
        services = [Service(problem, plan, inputs) for plan in plans]
        jobs = [Job((s,), workload, self.scheduler, intensity, datetime.now(UTC)) for s in services]
        with self.tracking.open_run(name, self._tags(provenance), self._params(provenance)) as run:
            runs = [(plan, self.backend.run(job)) for plan, job in zip(plans, jobs, strict=True)]
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

    def _agreement(
        self, module: torch.nn.Module, inputs: Sequence[torch.Tensor], records: Records
    ) -> dict[str, float]:
        """How near the answers are to the unsplit model's on the same pictures, where there are answers."""
        if not records.outputs:
            return {}
        refused = set(records.table.loc[records.table["status"] == "failed", "request"])
        with torch.inference_mode():
            answers = [module(x) for x in inputs]
        requests = records.table["request"].unique()
        expected = [answers[request % len(inputs)] for request in requests if request not in refused]
        return {
            "top1_agreement": top1_agreement(records.outputs, expected),
            "output_max_abs_error": output_max_abs_error(records.outputs, expected),
        }


def _log_provenance(run: Run, provenance: Provenance) -> None:
    run.log_text(provenance.config_yaml, "config.yaml")
    run.log_text("".join(f"- {override}\n" for override in provenance.overrides), "overrides.yaml")


_models: dict[str, tuple[torch.nn.Module, Graph]] = {}


def _model(spec: ModelSpec) -> tuple[torch.nn.Module, Graph]:
    """The model and its graph; the last one is kept, since the trials of a sweep mostly share it."""
    key = repr(spec)
    if key not in _models:
        module = spec.build()
        example = torch.zeros(1, 3, spec.input_size, spec.input_size)
        _models.clear()
        _models[key] = module, Graph.of(module, example, spec.name)
    return _models[key]
