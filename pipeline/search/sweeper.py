"""The Hydra sweeper: a grid or an Optuna study under one MLflow parent, and the front it found. Shell."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from pipeline.carbon.meters.reading import NoMeter
from pipeline.domain.checks import ConfigError, require
from pipeline.domain.plan import Plan
from pipeline.domain.trial_result import TrialResult
from pipeline.planning import pareto
from pipeline.results import repetition
from pipeline.results.paper import published
from pipeline.search.exact_reference import ExactReference
from pipeline.search.journal import stored_names
from pipeline.search.report import Findings, Report, note, print_variants, progress, trials_table
from pipeline.search.samplers import GRID
from pipeline.search.search_space import Point, SearchSpace
from pipeline.search.settings import Constraint, Settings
from pipeline.search.study import Study, SweepTrial
from pipeline.tracking.background_sender import by_courier
from pipeline.tracking.mlflow_run import NOTE_TAG, Run
from pipeline.tracking.outbox import DiskError
from pipeline.tracking.tracking import Tracking

WIDTH = 120
"""Columns of a log file."""
BESIDE_THE_PROBLEM = frozenset(
    {"paper", "partitioner", "scheduler", "workload", "images", "backend", "meter", "tracking"}
)
"""Parts of the config that may vary without changing the exact front."""
COURIER_FROM = 100
"""Trials left from which on a courier sends them: to start one takes as long as to send so many."""
STUDIES = "studies"
"""Folder of studies for which no `sweep.storage` is given; in the working directory, like MLflow's store."""
log = logging.getLogger(__name__)


def trial_config(config: DictConfig) -> DictConfig:
    """What the trial is built from: all of the config but how to sweep (and Hydra's own)."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("sweep", "hydra")])


class CarbonEdgeSweeper(Sweeper):
    """Runs the trials that the config's `sweep` asks for."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[SweepTrial]:
        """Run the trials and report their front, once for each variant.

        Raises ConfigError for a bad space or setting, or if all trials of a sweep failed.
        """
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = WIDTH
        settings = Settings.of(OmegaConf.to_container(self.config.sweep, resolve=True))
        require(
            not settings.variants or "MLFLOW_RUN_ID" not in os.environ,
            "sweep.variants: several sweeps need several runs, and `mlflow run` has opened one; "
            "use python -m pipeline",
        )
        sweeps = [_Sweep(name, one, self, arguments) for name, one in settings.each().items()]
        self.tracking: Tracking = instantiate(self.config.tracking)
        self.tracking.check()
        for one in sweeps:
            one.prepare()
        for one in sweeps:
            one.run()
        if settings.variants:
            print_variants(self.console, {one.name: one.figures for one in sweeps})
        self.tracking.sync()  # what is left of a time in which the store was away
        self.console.print(self.tracking.farewell())
        return [trial for one in sweeps for trial in one.source.trials]


class _Sweep:
    """One sweep: its space, its source of trials, its yardstick, and what came of it."""

    def __init__(self, name: str, settings: Settings, hydra: CarbonEdgeSweeper, arguments: list[str]) -> None:
        self.name, self.settings, self.hydra = name, settings, hydra
        self.objectives = settings.objectives
        self.loader = hydra.hydra_context.config_loader
        self.space = SearchSpace.parse(settings.params, arguments, self.loader, settings.conditions)
        self.constraints = [Constraint.of(key, bound) for key, bound in settings.constraints.items()]
        self.config = self._compose()
        self.compared = {
            name: self.space.points(f"sweep.compare.{name}", entry)
            for name, entry in settings.compare.items()
        }
        self.figures: dict[str, float] = {}
        self.told_apart = [key for key in self.space.dimensions if key not in repetition.SEEDS]
        """What varies beside chance."""
        require(
            settings.repeats == 1 or "repeat" not in self.space.dimensions,
            f"repeat: sweep.repeats={settings.repeats} varies it already",
        )
        for key in settings.conditions:
            known = {**settings.params, **self.space.dimensions}
            require(
                key in known,
                f"sweep.conditions.{key}: is not among what may vary ({', '.join(known) or 'nothing'})",
            )
        for key in settings.baseline:
            require(
                key in self.told_apart,
                f"sweep.baseline.{key}: does not vary (what does: {', '.join(self.told_apart) or 'nothing'})",
            )
        for key, value in settings.baseline.items():
            tried = [value]
            if settings.sampler == GRID:
                tried = list(dict.fromkeys(point[key] for point in self.space.grid()))
            require(
                not isinstance(value, dict | list) and value in tried,
                f"sweep.baseline.{key}: {value!r} is not among what is tried ({', '.join(map(str, tried))})",
            )

    def _compose(self) -> DictConfig:
        """Compose the jobs that show every choice once: a wrong key or group must end the sweep here.

        Gives back the first one's config.
        """
        configs = []
        for point in self.space.probes():
            try:
                configs.append(self.loader.load_sweep_config(self.hydra.config, self.space.overrides(point)))
            except (HydraException, OmegaConfBaseException) as error:
                cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else ""
                raise ConfigError(_one_line(error) + cause) from error
        return configs[0]

    def prepare(self) -> None:
        """Find the yardstick and open the source of trials."""
        try:
            self.yardstick: ExactReference | None = self._yardstick()
        except ConfigError as error:
            require(self.settings.warm_start is None, f"sweep.warm_start: {error}")
            self.yardstick = None
            if not self._queues():  # where requests queue nobody expects one
                self.hydra.console.print(f"no regret to the exact front: {error}", markup=False)
        self.source = self._source()

    def _yardstick(self) -> ExactReference:
        """Raises ConfigError saying why there is none that holds for every trial."""
        varied = sorted(self.space.families - BESIDE_THE_PROBLEM)
        require(not varied, f"the trials have no one front, as {', '.join(varied)} varies")
        require(self.config.get("_target_") is not None, "the config builds no trial")
        require(not self._queues(), "requests queue, and the cost model knows one at a time")
        require(not self.config.get("extra_models"), "several models share the fleet, and it knows one")
        require(self.config.get("action", "run") == "run", f"action={self.config.get('action')} runs no plan")
        try:
            trial = instantiate(trial_config(self.config))
        except HydraException as error:
            raise ConfigError(_one_line(error.__cause__ or error)) from error
        return ExactReference.of(trial.problem(), self.objectives)

    def _queues(self) -> bool:
        """Whether requests may wait for one another."""
        workload = self.config.get("workload")
        return workload is not None and workload.get("concurrency") != 1

    def _source(self) -> Study:
        settings, held = self.settings, self._held()
        require(
            settings.sampler == GRID or len(self.space.dimensions) > 0,
            "sweep.params: a study needs something to vary, such as partitioner.stages=range(1,4)",
        )
        entries = enumerate(settings.enqueue)
        enqueued = [p for i, entry in entries for p in self.space.points(f"sweep.enqueue.{i}", entry)]
        exact = self._exact_points(enqueued)

        def opened(name: str) -> Study:
            return Study(
                self.space,
                self.objectives,
                held=held,
                name=name,
                storage=self._storage(name),
                total=settings.n_trials,
                enqueue=enqueued + exact,
                sampler=settings.sampler,
                sampler_options=settings.sampler_options,
                seed=settings.seed,
                take_over=settings.take_over,
            )

        name = self._study_name(held)
        study = opened(name)
        while (parent := study.parent_run_id) is not None and not self.hydra.tracking.has(parent):
            known, name = name, self._next_name(name)
            said = f"The runs of study {known!r} are not in this MLflow store: {name!r} is begun"
            self.hydra.console.print(said, markup=False)
            study = opened(name)
        if study.resumed:
            there = f"{len(study.trials)} of {study.total} trials are there"
            said = f"The study {name!r} goes on: {there} (sweep.resume=false begins anew)"
            self.hydra.console.print(said, markup=False)
        elif self.settings.warm_start is not None and self.yardstick is not None:
            of = len(self.yardstick.front.plans)
            self.hydra.console.print(f"Tried first: {len(exact)} of the {of} plans of the exact front")
        return study

    def _study_name(self, held: Mapping[str, str]) -> str:
        """The config's, or one that tells apart all that was asked for; a fresh one where not to resume."""
        settings = self.settings
        name = settings.study_name
        if name is None:
            how = (settings.sampler, settings.sampler_options, settings.seed, settings.warm_start)
            asked = json.dumps([held, how, settings.enqueue], sort_keys=True, default=str)
            digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
            parts = (OmegaConf.select(self.hydra.config, f"{part}.name") for part in ("model", "fleet"))
            name = " ".join([*filter(None, (self.name, *parts)), settings.sampler, digest])
        while not settings.resume and name in stored_names(self._storage(name)):
            name = self._next_name(name)
        return name

    @staticmethod
    def _next_name(name: str) -> str:
        found = re.fullmatch(r"(.*) \((\d+)\)", name)
        return f"{found[1]} ({int(found[2]) + 1})" if found else f"{name} (2)"

    def _storage(self, name: str) -> str:
        return self.settings.storage or f"{STUDIES}/{re.sub(r'[^A-Za-z0-9._=-]+', '-', name)}.journal"

    def _held(self) -> dict[str, str]:
        """What is the same in all trials of a study, by config key: objectives, space, and the rest."""
        varied = {key: override.get_value_string() for key, override in self.space.dimensions.items()}
        config = OmegaConf.to_container(trial_config(self.config), resolve=True)
        rest = {
            key: str(value)
            for key, value in _leaves("", config)
            if not key.startswith("tracking.") and not any(f"{key}.".startswith(f"{dim}.") for dim in varied)
        }
        how = ("objectives", "repeats", "sampler", "sampler_options", "seed", "constraints")
        own = {f"sweep.{name}": str(getattr(self.settings, name)) for name in how}
        return own | varied | rest

    def _exact_points(self, enqueued: Sequence[Point]) -> list[Point]:
        """The plans of the exact front that are to be tried beside the enqueued points."""
        if self.settings.warm_start is None or self.yardstick is None:
            return []
        chosen = OmegaConf.select(self.config, "hydra.runtime.choices.partitioner")
        require(
            chosen == "explicit",
            f"sweep.warm_start: only partitioner=explicit can say the exact front's plans (it is {chosen})",
        )
        try:
            room = self.settings.n_trials - len(enqueued)
            return self.yardstick.warm_start(self.space, enqueued, room)
        except ConfigError as error:
            raise ConfigError(f"sweep.warm_start: {error}") from error

    def run(self) -> None:
        """Run the trials under one parent run, and report their front."""
        console, tracking, source = self.hydra.console, self.hydra.tracking, self.source
        kind = GRID if self.settings.sampler == GRID else f"{self.settings.sampler} study"
        about = {
            name: str(OmegaConf.select(self.hydra.config, f"{name}.name", throw_on_missing=False))
            for name in ("model", "fleet")
        }
        title = (
            f"{self.name}{self.name and ': '}{kind} of {source.total} · {about['model']} on {about['fleet']}"
        )
        if self.name:
            console.print(title, style="bold", markup=False)
        tags = {"sweep": kind, "study": source.name, **about}
        with ExitStack() as stack:
            with source.turn:  # of processes that begin together one makes the parent
                resumed = source.parent_run_id
                run = stack.enter_context(tracking.open_run(title, tags, self._params(), resumed))
                source.set_parent_run_id(run.run_id)
            if resumed is not None:
                tracking.settle(run.run_id, self._run_ids())
            run.log_text(OmegaConf.to_yaml(self.hydra.config), "multirun.yaml")
            about_sweep = note(self.objectives, [*self.space.dimensions], source.name)
            run.set_tags({NOTE_TAG: about_sweep})
            self._run_trials(run)
            trials = source.trials
            complete = [trial for trial in trials if not trial.failure]
            counts = {"trials_complete": len(complete), "trials_failed": len(trials) - len(complete)}
            self.figures |= counts
            run.log_metrics(counts)
            if not complete:
                raise ConfigError(f"all {len(trials)} trials failed; the first: {trials[0].failure}")
            self._require_few_failures(trials)
            ids = tracking.ids(run.run_id)
            run.log_table(trials_table(complete).replace({"run_id": ids}), "trials.json")
            first = {trial.number: trial.results[0].run_id for trial in complete}
            tracking.link_killed(run.run_id, first, self._run_ids())
            model = self._report(complete, Report(run, tracking, console, about_sweep, ids))
            pair = [_find(complete, self.compared.get(name, ())) for name in ("monolithic", "green")]
            if pair[0] and pair[1]:
                comparison = published.comparison(*pair)
                run.log_table(comparison.reset_index(), "comparison.json")
                if not self.name and about["fleet"] == "paper":
                    published.print_comparison(console, comparison)
        if model is not None and (version := tracking.register(run.run_id, model)) is not None:
            console.print(f"The knee's plan: plan.json, and model {model} version {version}")

    def _report(self, complete: Sequence[SweepTrial], report: Report) -> str | None:
        """Say what came of the complete trials; gives the name to register the knee's model under, if any."""
        console, run, objectives = report.console, report.run, [*self.objectives]
        finite = [trial for trial in complete if np.isfinite(trial.values(self.objectives)).all()]
        kept = [trial for trial in finite if self._counts(trial)]
        if not finite:
            console.print(f"no front: no trial has a finite {' and '.join(objectives)}")
            return None
        if self.constraints:
            console.print(f"{len(kept)} of {len(finite)} trials keep the constraints", markup=False)
        if not kept:
            console.print("no front: no trial keeps the constraints")
            return None
        found = Findings(self.settings, [*self.space.dimensions], kept)
        self.figures["front_size"] = int(found.on_front.sum())
        if self.yardstick is None and len(objectives) > 1:
            points = pareto.signed([trial.values(self.objectives) for trial in kept], found.directions)
            reference = pareto.reference_point(points)
            for count, trial in enumerate(kept, start=1):
                run.log_metrics({"hypervolume": pareto.hypervolume(points[:count], reference)}, trial.number)
        table = report.front(found, self._run_ids())
        report.repetitions(found)
        if self.yardstick is not None:
            regret, plans = self.figures["regret_to_exact"], len(self.yardstick.front.plans)
            of = f"{plans} plan{'s' if plans > 1 else ''}"
            console.print(f"Regret to the exact front ({of}): {regret:.2%}")
        [knee] = table.loc[table["knee"], "number"].tolist()
        trial = next(trial for trial in kept if trial.number == knee)
        config = self.loader.load_sweep_config(self.hydra.config, self.space.overrides(trial.point))
        return report.hand_on(trial, config)

    def _params(self) -> dict[str, str]:
        """What the parent run keeps as params: how the sweep goes about it, and what varies."""
        study = () if self.settings.sampler == GRID else ("sampler", "seed", "warm_start")
        varied = {key: override.get_value_string() for key, override in self.space.dimensions.items()}
        kept = ("repeats", "batch_size", *study)
        return {name: str(getattr(self.settings, name)) for name in kept} | varied

    def _run_trials(self, run: Run) -> None:
        """Ask, launch, tell, until no point is left or more trials failed than may."""
        source, settings, tracking = self.source, self.settings, self.hydra.tracking
        earlier = source.trials  # of a study that goes on
        logged = tracking.steps(run.run_id, "hypervolume") if earlier and self.yardstick else set()
        for step in range(len(earlier)):
            if step not in logged:
                self._log_progress(run, earlier[: step + 1], step)
        self.figures |= self._progress(earlier)
        sending = by_courier(tracking) if self._by_courier else nullcontext(tracking.deliver)
        with sending as deliver, progress(self.hydra.console, source, self.objectives) as show:
            while batch := source.ask(settings.batch_size):
                jobs = self.hydra.launcher.launch(
                    [
                        [*overrides, *self._belongs(run, number, point)]
                        for number, point in batch
                        for overrides in self._repetitions(point)
                    ],
                    initial_job_idx=batch[0][0] * settings.repeats,
                )
                for index, (number, point) in enumerate(batch):
                    own = jobs[index * settings.repeats : (index + 1) * settings.repeats]
                    trial = _trial(number, point, own)
                    show(source.tell(trial, self._bounds(trial)))
                    deliver([result.run_id for result in trial.results])
                    finished = source.trials
                    self._log_progress(run, finished, len(finished) - 1)
                    run.flush()
                if self._too_many_failed(source.trials):
                    return

    @cached_property
    def _by_courier(self) -> bool:
        """Whether another process sends the trials: many, of which none measures what it would disturb."""
        parts = ("backend", "meter")
        left = (self.source.total - len(self.source.trials)) * self.settings.repeats
        if (
            left < COURIER_FROM
            or not self.space.families <= BESIDE_THE_PROBLEM.difference(parts)
            or not all(part in self.config for part in parts)
        ):
            return False
        backend, meter = (instantiate(self.config[part]) for part in parts)
        return not backend.computes and isinstance(meter, NoMeter)

    def _run_ids(self) -> set[str]:
        """The runs of all trials that are finished."""
        return {result.run_id for trial in self.source.trials for result in trial.results}

    def _bounds(self, trial: SweepTrial) -> dict[str, float]:
        """How far a trial is beyond each constraint."""
        return {one.key: one.beyond(trial.metrics) for one in self.constraints}

    def _counts(self, trial: SweepTrial) -> bool:
        """Whether a trial may be on the front: it did not fail, and keeps the constraints."""
        return not trial.failure and all(beyond <= 0 for beyond in self._bounds(trial).values())

    def _too_many_failed(self, trials: Sequence[SweepTrial]) -> bool:
        failed = sum(bool(trial.failure) for trial in trials)
        return failed > self.settings.max_failure_rate * self.source.total

    def _require_few_failures(self, trials: Sequence[SweepTrial]) -> None:
        failures = [trial.failure for trial in trials if trial.failure]
        require(
            not self._too_many_failed(trials),
            f"{len(failures)} of {self.source.total} trials failed, more than sweep.max_failure_rate="
            f"{self.settings.max_failure_rate:g} of them; the first: {failures[0] if failures else ''}",
        )

    def _belongs(self, run: Run, number: int, point: Point) -> list[str]:
        """Overrides by which a trial's run says which trial of which sweep it is."""
        unused = ",".join(key for key in self.space.dimensions if key not in point)
        place = f"tracking.parent_run_id={run.run_id}", f"tracking.trial={number}"
        deferred = ["tracking.deferred=true"] if self._by_courier else []
        return [*place, *deferred, *([f"tracking.unused=[{unused}]"] if unused else [])]

    def _repetitions(self, point: Point) -> list[list[str]]:
        """The overrides of each of the jobs that a point stands for."""
        overrides, repeats = self.space.overrides(point), self.settings.repeats
        return [[*overrides, f"repeat={k}"] for k in range(repeats)] if repeats > 1 else [overrides]

    def _log_progress(self, run: Run, trials: Sequence[SweepTrial], step: int) -> None:
        figures = self._progress(trials)
        run.log_metrics(figures, step=step)
        self.figures |= figures

    def _progress(self, trials: Sequence[SweepTrial]) -> dict[str, float]:
        """How far the sweep has come, where there is a yardstick to tell it by."""
        if self.yardstick is None or not trials:
            return {}
        kept = [trial for trial in trials if self._counts(trial)]
        results = [result for trial in kept for result in trial.results]
        values = [trial.values(self.objectives) for trial in kept] or [[math.nan] * len(self.objectives)]
        return {
            "regret_to_exact": self.yardstick.regret([Plan(**r.plan) for r in results if r.plan]),
            "hypervolume": pareto.hypervolume(values, self.yardstick.measured_reference),
        }


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All that stands below a key of the config, by full key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield key, value
    for name, below in items:
        yield from _leaves(f"{key}.{name}" if key else str(name), below)


def _trial(number: int, point: Point, jobs: Sequence[JobReturn]) -> SweepTrial:
    """What came of a point's repetitions; one that failed makes it a failure.

    Raises DiskError where it could not be kept: that is not the trial's doing, which is run again.
    """
    outcomes = [job._return_value for job in jobs]  # the public property prints to stderr and raises
    results = [
        outcome
        for job, outcome in zip(jobs, outcomes, strict=True)
        if job.status is JobStatus.COMPLETED and isinstance(outcome, TrialResult)
    ]
    failed = next((outcome for outcome in outcomes if outcome not in results), None)
    return SweepTrial(number, point, tuple(results), _failure(number, failed) if failed is not None else "")


def _failure(number: int, outcome: object) -> str:
    """Why a job failed, in one line; what nobody expected goes into the log in full."""
    error: object = outcome
    while isinstance(error, BaseException) and not isinstance(error, ConfigError):
        error = error.__cause__
    if isinstance(error, DiskError):
        raise error
    if error:  # bad input, perhaps below Hydra's account of a failed constructor call
        return _one_line(error)
    log.error("trial %d", number, exc_info=outcome if isinstance(outcome, BaseException) else None)
    return f"{type(outcome).__name__}: {_one_line(outcome)}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _find(trials: Sequence[SweepTrial], points: Sequence[Point]) -> dict[str, float] | None:
    """The metrics of the first trial at one of these perhaps partial points."""
    hits = (t.metrics for t in trials for point in points if point.items() <= t.point.items())
    return next(hits, None)
