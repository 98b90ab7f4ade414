"""One sweep: its settings, its study, its trials and its report. Shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.domain.checks import ConfigError, first_line, one_line, require
from pipeline.planning import pareto
from pipeline.planning.problem import InvertiblePartitioner
from pipeline.results import repetition
from pipeline.results.accountant import is_carbon_metric
from pipeline.results.paper.published import published_metrics
from pipeline.results.summary import NO_DECISIONS, PINNED
from pipeline.results.units import counted
from pipeline.search.exact_reference import BESIDE_THE_PROBLEM, ExactReference
from pipeline.search.jobs import trial_config
from pipeline.search.reporting.findings import Findings, trials_table
from pipeline.search.reporting.report import Report, note
from pipeline.search.resume import StudyFinder, held_values
from pipeline.search.search_space import Point, SearchSpace
from pipeline.search.settings import Settings
from pipeline.search.studies.samplers import GRID
from pipeline.search.studies.study import Study
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.search.trial_loop import Session, TrialLoop
from pipeline.tracking.mlflow_run import NOTE_TAG, Run


class Sweep:
    """One sweep: its search space, its exact reference, its study, and its figures.

    Construct it, then call `prepare` and `run`. Raises ConfigError for settings that do not fit the space or
    each other.
    """

    def __init__(self, name: str, settings: Settings, session: Session, arguments: list[str]) -> None:
        self.name, self.settings, self.session = name, settings, session
        self.space = SearchSpace.parse(settings.params, arguments, session.loader, settings.conditions)
        self.config = _composed(self.space, session)
        self.compared = {
            name: self.space.points(f"sweep.compare.{name}", entry)
            for name, entry in settings.compare.items()
        }
        self.figures: dict[str, float] = {}
        _require_consistent(settings, self.space)

    def prepare(self) -> None:
        """Find the exact reference and the published figures, and open the study.

        Raises ConfigError for bad published figures, a study that cannot be resumed, and a warm start that is
        not possible.
        """
        about = self._about()
        self.published = _published(self.settings, about["fleet"])
        self.reference: ExactReference | None = None
        try:
            self.reference = self._exact_reference()
        except ConfigError as error:
            require(self.settings.warm_start is None, f"sweep.warm_start: {error}")
            if not self._queues():  # where requests queue, an exact front is not to be expected
                self._print(f"no regret to the exact front: {error}")
        self.study = self._open_study()

    def _about(self) -> dict[str, str]:
        """The names of the model and the fleet."""
        return {
            part: str(OmegaConf.select(self.session.config, f"{part}.name", throw_on_missing=False))
            for part in ("model", "fleet")
        }

    def _print(self, line: str) -> None:
        self.session.console.print(line)

    def _exact_reference(self) -> ExactReference:
        """The exact front that holds for every trial. Raises ConfigError with the reason where none does."""
        varied = sorted(self.space.families - BESIDE_THE_PROBLEM)
        require(not varied, f"the trials have no common front, as {', '.join(varied)} varies")
        require(self.config.get("_target_") is not None, "the config builds no trial")
        require(not self._queues(), "requests queue, and the cost model assumes one at a time")
        require(
            not self.config.get("extra_models"),
            "several models share the fleet, and the cost model takes one",
        )
        require(self.config.get("action", "run") == "run", f"action={self.config.get('action')} runs no plan")
        try:
            trial = instantiate(trial_config(self.config))
        except HydraException as error:
            raise ConfigError(one_line(error.__cause__ or error)) from error
        return ExactReference.of(trial.problem(), self.settings.objectives)

    def _queues(self) -> bool:
        """Whether requests may wait for one another."""
        workload = self.config.get("workload")
        return workload is not None and workload.get("concurrency") != 1

    def _open_study(self) -> Study:
        settings = self.settings
        require(
            settings.sampler == GRID or len(self.space.dimensions) > 0,
            "sweep.params: a study needs something to vary, such as partitioner.stages=range(1,4)",
        )
        entries = enumerate(settings.enqueue)
        enqueued = [p for i, entry in entries for p in self.space.points(f"sweep.enqueue.{i}", entry)]
        exact, others = self._exact_points(enqueued)
        held = held_values(settings, self.space, self.config)
        names = (OmegaConf.select(self.session.config, f"{part}.name") for part in ("model", "fleet"))
        title = [*filter(None, (self.name, *names))]
        finder = StudyFinder(settings, self.space, held, title, self.session.tracking)
        study = finder.open(enqueued + exact, self._print)
        if not study.resumed and settings.warm_start is not None and self.reference is not None:
            of = len(self.reference.front.plans)
            why = f" ({others})" if others else ""
            self._print(f"Tried first: {len(exact)} of the {of} plans of the exact front{why}")
        return study

    def _exact_points(self, enqueued: Sequence[Point]) -> tuple[list[Point], str]:
        """Plans of the exact front to try beside the enqueued points, and where the others are."""
        if self.settings.warm_start is None or self.reference is None:
            return [], ""
        chosen = OmegaConf.select(self.config, "hydra.runtime.choices.partitioner")
        partitioner = instantiate(self.config.partitioner, _convert_="all")
        room = self.settings.n_trials - len(enqueued)
        try:
            require(
                isinstance(partitioner, InvertiblePartitioner),
                f"partitioner={chosen} cannot spell out a plan of the exact front; "
                "conf/sweep/none.yaml names a partitioner that can",
            )
            return self.reference.warm_start(self.space, partitioner, enqueued, room)
        except ConfigError as error:
            raise ConfigError(f"sweep.warm_start: {error}") from error

    def run(self) -> None:
        """Run the trials under one parent run, and report their front.

        Raises ConfigError where all trials failed, or more of them than `sweep.max_failure_rate` allows.
        """
        tracking, study, about = self.session.tracking, self.study, self._about()
        kind = GRID if self.settings.sampler == GRID else f"{self.settings.sampler} study"
        what = f"{kind} of {study.total} · {about['model']} on {about['fleet']}"
        title = f"{self.name}: {what}" if self.name else what
        if self.name:
            self.session.console.print(title, style="bold")
        tags = {"sweep": kind, "study": study.name, **about}
        with ExitStack() as stack:
            with study.turn:  # one of the processes that begin together makes the parent
                resumed = study.parent_run_id
                run = stack.enter_context(tracking.open_run(title, tags, self._params(), resumed))
                study.set_parent_run_id(run.run_id)
            if resumed is not None:
                tracking.settle(run.run_id, self._run_ids())
            model = self._run_trials(run)
        if model is not None:
            version = tracking.register(run.run_id, model)
            when = "once the store answers" if version is None else f"version {version}"
            self._print(f"The plan kept for reuse: {tracking.found_at(run.run_id, 'plan.json')}")
            self._print(f"It is also registered as model {model} {when}")

    def _params(self) -> dict[str, str]:
        """The params of the parent run: how the sweep runs, and which keys vary."""
        study = () if self.settings.sampler == GRID else ("sampler", "seed", "warm_start")
        varied = {key: override.get_value_string() for key, override in self.space.dimensions.items()}
        kept = ("repeats", "batch_size", *study)
        return {name: str(getattr(self.settings, name)) for name in kept} | varied

    def _run_ids(self) -> set[str]:
        """The ids of the runs of all finished trials."""
        return {result.run_id for trial in self.study.trials for result in trial.results}

    def _run_trials(self, run: Run) -> str | None:
        """Run the trials and report them; returns the name to register the knee's model under, if any."""
        session, tracking = self.session, self.session.tracking
        run.log_text(OmegaConf.to_yaml(session.config), "multirun.yaml")
        description = note(self.settings.objectives, [*self.space.dimensions], self.study.name)
        run.set_tags({NOTE_TAG: description})
        loop = TrialLoop(session, self.settings, self.space, self.config, self.study, self.reference, run)
        self.figures |= loop.run_all()
        trials = self.study.trials
        complete = [trial for trial in trials if not trial.failure]
        counts = {"trials_complete": len(complete), "trials_failed": len(trials) - len(complete)}
        self.figures |= counts
        run.log_metrics(counts)
        if not complete:
            raise ConfigError(f"all {len(trials)} trials failed; the first: {trials[0].failure}")
        loop.require_few_failures(trials)
        ids = tracking.ids(run.run_id)
        run.log_table(trials_table(complete).replace({"run_id": ids}), "trials.json")
        first = {trial.number: trial.results[0].run_id for trial in complete}
        tracking.link_killed(run.run_id, first, self._run_ids())
        report = Report(run, tracking, session.console, description, ids)
        model = self._report_front(complete, report)
        self._report_comparison(complete, report)
        if lost := [trial for trial in trials if trial.failure]:
            self._print(
                f"{len(lost)} of {len(trials)} trials failed; the first, {lost[0].number}: {lost[0].failure}"
            )
        return model

    def _report_front(self, complete: Sequence[SweepTrial], report: Report) -> str | None:
        """Report the front of the complete trials; returns the name to register the knee's model under."""
        objectives = self.settings.objectives
        finite = [trial for trial in complete if np.isfinite(trial.values(objectives)).all()]
        kept = [trial for trial in finite if self.settings.met_by(trial.metrics)]
        if not finite:
            report.console.print(f"no front: no trial has a finite {' and '.join(objectives)}")
            return None
        if self.settings.constraints:
            self._print(f"{len(kept)} of {len(finite)} trials meet the constraints")
        if not kept:
            report.console.print("no front: no trial meets the constraints")
            return None
        found = Findings(self.settings, [*self.space.dimensions], kept)
        self.figures["front_size"] = int(found.on_front.sum())
        if self.reference is None and len(objectives) > 1:
            points = pareto.signed([trial.values(objectives) for trial in kept], found.directions)
            reference = pareto.reference_point(points)
            for count, trial in enumerate(kept, start=1):
                volume = pareto.hypervolume(points[:count], reference)
                report.run.log_metrics({"hypervolume": volume}, trial.number)
        table = report.front(found, self._run_ids())
        schedulers = {result.labels.get("scheduler") for trial in kept for result in trial.results}
        if "scheduler" in self.space.families and schedulers == {PINNED}:
            self._print(f"The scheduler had no effect: {NO_DECISIONS}")
        report.repetitions(found)
        if self.reference is not None:
            regret, of = self.figures["regret_to_exact"], counted(len(self.reference.front.plans), "plan")
            report.console.print(f"Regret to the exact front ({of}): {regret:.2%}")
        [knee] = table.loc[table["knee"], "number"].tolist()
        trial = next(trial for trial in kept if trial.number == knee)
        overrides = self.space.overrides(trial.point)
        return report.hand_on(trial, self.session.loader.load_sweep_config(self.session.config, overrides))

    def _report_comparison(self, complete: Sequence[SweepTrial], report: Report) -> None:
        """Report the two compared points beside the published ones, where both were tried."""
        here = {name: _first_metrics(complete, points) for name, points in self.compared.items()}
        tried = {name: metrics for name, metrics in here.items() if metrics}
        if len(tried) == 2:
            report.comparison(tried, self.published, shown=not self.name)


def _composed(space: SearchSpace, session: Session) -> DictConfig:
    """The config of the first of the points that contain every choice; all of these are composed.

    Raises ConfigError for a wrong key or group, so that it ends the sweep before its first trial.
    """
    configs = []
    for point in space.probes():
        try:
            configs.append(session.loader.load_sweep_config(session.config, space.overrides(point)))
        except (HydraException, OmegaConfBaseException) as error:
            cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
            raise ConfigError(one_line(error) + cause) from error
    _require_buildable(configs)
    return configs[0]


def _require_buildable(configs: Sequence[DictConfig]) -> None:
    """Raise what building a trial raises, if it is the same for all of these: no trial could be run."""
    errors: dict[str, HydraException] = {}
    for config in configs:
        if config.get("_target_") is None:
            return
        try:
            instantiate(trial_config(config))
            return
        except HydraException as error:
            errors[one_line(error.__cause__ or error)] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))


def _require_consistent(settings: Settings, space: SearchSpace) -> None:
    """Raise ConfigError for repeats, conditions, objectives and a baseline that do not fit what varies."""
    mixed = [
        key for key in space.dimensions if key in ("accounting", "accounting.idle", "accounting.reserved")
    ]
    counted = [key for key in settings.objectives if is_carbon_metric(key)]
    require(
        not (mixed and counted),
        f"{', '.join(mixed)}: varies, and {', '.join(counted)} cannot be compared between trials that count "
        "different things; carbonedge reaccount accounts a finished run by other rules",
    )
    require(
        settings.repeats == 1 or "repeat" not in space.dimensions,
        f"repeat: sweep.repeats={settings.repeats} varies it already",
    )
    known = {**settings.params, **space.dimensions}
    for key in settings.conditions:
        require(
            key in known,
            f"sweep.conditions.{key}: is not among the keys that may vary ({', '.join(known) or 'nothing'})",
        )
    varied = [key for key in space.dimensions if key not in repetition.SEEDS]
    for key in settings.baseline:
        require(
            key in varied,
            f"sweep.baseline.{key}: does not vary (keys that do: {', '.join(varied) or 'nothing'})",
        )
    for key, value in settings.baseline.items():
        tried = [value]
        if settings.sampler == GRID:
            tried = list(dict.fromkeys(point[key] for point in space.grid()))
        require(
            not isinstance(value, dict | list) and value in tried,
            f"sweep.baseline.{key}: {value!r} is not among the values tried ({', '.join(map(str, tried))})",
        )


def _published(settings: Settings, fleet: str) -> Mapping[str, Mapping[str, Any]] | None:
    """The published metrics of the compared points on a fleet, by their names; None where there are none."""
    rows = settings.published.get(fleet)
    if rows is None or len(settings.compare) < 2:
        return None
    require(
        rows.keys() == settings.compare.keys(),
        f"sweep.published.{fleet}: must have a row for each of {', '.join(settings.compare)}, the points of "
        f"sweep.compare (it has {', '.join(rows)})",
    )
    try:
        return {name: published_metrics(str(rows[name])) for name in settings.compare}
    except ConfigError as error:
        raise ConfigError(f"sweep.published.{fleet}: {error}") from error


def _first_metrics(trials: Sequence[SweepTrial], points: Sequence[Point]) -> dict[str, float] | None:
    """The metrics of the first trial at one of these points, which may be partial."""
    hits = (t.metrics for t in trials for point in points if point.items() <= t.point.items())
    return next(hits, None)
