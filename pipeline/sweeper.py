"""The Hydra sweeper: a grid or an Optuna study under one MLflow parent, and the front it found. Shell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.core.config_store import ConfigStore
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
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline import paper, pareto, report
from pipeline.domain import ConfigError, TrialResult, require
from pipeline.search_space import Point, SearchSpace
from pipeline.study import SAMPLERS, Grid, Study, SweepTrial, TrialSource
from pipeline.tracking import metric

WIDTH = 120
"""Columns of a log file."""

log = logging.getLogger(__name__)


def register() -> None:
    """Make `hydra/sweeper: carbonedge` and `${device_names:}` known to Hydra; call it before `hydra.main`."""
    # Hydra instantiates plug-ins by names with this prefix only; the class itself it imports from here.
    target = "hydra_plugins.carbonedge.CarbonEdgeSweeper"
    Plugins.instance().class_name_to_class[target] = CarbonEdgeSweeper
    node = {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(CarbonEdgeSweeper)
    }
    ConfigStore.instance().store(
        group="hydra/sweeper", name="carbonedge", node={"_target_": target, "_convert_": "all", **node}
    )
    OmegaConf.register_new_resolver(
        "device_names", lambda *, _root_: ",".join(_root_.fleet.devices), replace=True
    )


@dataclass
class CarbonEdgeSweeper(Sweeper):
    """`hydra.sweeper`: its fields are the config keys, explained in conf/sweep/pareto.yaml."""

    params: dict[str, Any] = field(default_factory=dict)
    objectives: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    max_failures: int | None = None
    compare: dict[str, dict[str, Any]] = field(default_factory=dict)
    sampler: str | None = None
    sampler_options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = 0
    n_trials: int = 24
    enqueue: list[dict[str, Any]] = field(default_factory=list)
    storage: str | None = None
    study_name: str = "sweep"

    def __post_init__(self) -> None:
        for name in ("params", "objectives", "compare"):  # YAML merges mappings: null takes an entry out
            setattr(self, name, {key: v for key, v in getattr(self, name).items() if v is not None})
        for name in ("batch_size", "n_trials"):
            value = getattr(self, name)
            require(
                isinstance(value, int) and value >= 1, f"hydra.sweeper.{name} must be >= 1 (it is {value})"
            )
        require(
            self.sampler is None or self.sampler in SAMPLERS,
            f"hydra.sweeper.sampler: unknown {self.sampler!r} (null for a grid, or {', '.join(SAMPLERS)})",
        )
        require(len(self.objectives) > 0, "hydra.sweeper.objectives: at least one metric must be given")
        try:
            pareto.signed([[0.0] * len(self.objectives)], list(self.objectives.values()))
            for key in self.objectives:
                metric(key)
        except ValueError as error:
            raise ConfigError(f"hydra.sweeper.objectives: {error}") from error

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[SweepTrial]:
        """Run the trials and report their front. Raises ConfigError for a bad space, or if all failed."""
        space = SearchSpace.parse(self.params, arguments, self.hydra_context.config_loader)
        self._compose(space)
        compared = {
            name: space.points(f"hydra.sweeper.compare.{name}", entry) for name, entry in self.compare.items()
        }
        tracking = instantiate(self.config.tracking)
        tracking.check()
        source = self._source(space)
        console = Console(highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = WIDTH
        kind = f"{self.sampler} study" if self.sampler else "grid"
        about = {
            name: str(OmegaConf.select(self.config, f"{name}.name", throw_on_missing=False))
            for name in ("model", "fleet")
        }
        title = f"{kind} of {source.total} · {about['model']} on {about['fleet']}"
        with tracking.open_run(title, {"sweep": kind, **about}, self._settings(space)) as run:
            run.log_text(OmegaConf.to_yaml(self.config), "multirun.yaml")
            self._run(source, space, run.run_id, console)
            trials = source.trials
            complete = [trial for trial in trials if not trial.failure]
            run.log_metrics({"trials_complete": len(complete), "trials_failed": len(trials) - len(complete)})
            if not complete:
                raise ConfigError(f"all {len(trials)} trials failed; the first: {trials[0].failure}")
            run.log_table(_frame(complete), "trials.json")
            self._report_front(complete, tracking, run, console)
            pair = [_find(complete, compared.get(name, ())) for name in ("monolithic", "green")]
            if pair[0] and pair[1]:
                comparison = paper.comparison(pair[0].metrics, pair[1].metrics)
                run.log_table(comparison.reset_index(), "comparison.json")
                paper.print_comparison(console, comparison)
        console.print(tracking.ui_command())
        return trials

    def _compose(self, space: SearchSpace) -> None:
        """Compose the jobs that show every choice once: a wrong key or group must end the sweep here."""
        for point in space.probes():
            try:
                self.hydra_context.config_loader.load_sweep_config(self.config, space.overrides(point))
            except (HydraException, OmegaConfBaseException) as error:
                cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else ""
                raise ConfigError(_one_line(error) + cause) from error

    def _source(self, space: SearchSpace) -> TrialSource:
        if self.sampler is None:
            return Grid(space)
        require(
            len(space.dimensions) > 0,
            "hydra.sweeper.params: a study needs something to vary, such as partitioner.stages=range(1,4)",
        )
        return Study(
            space,
            self.objectives,
            name=self.study_name,
            storage=self.storage or str(Path(self.config.hydra.sweep.dir) / "study.journal"),
            total=self.n_trials,
            enqueue=[p for entry in self.enqueue for p in space.points("hydra.sweeper.enqueue", entry)],
            sampler=self.sampler,
            sampler_options=self.sampler_options,
            seed=self.seed,
        )

    def _settings(self, space: SearchSpace) -> dict[str, str]:
        """What the parent run keeps as params: how the sweep goes about it, and what varies."""
        names = ("batch_size", "sampler", "seed", "study_name") if self.sampler else ("batch_size",)
        varied = {key: override.get_value_string() for key, override in space.dimensions.items()}
        return {name: str(getattr(self, name)) for name in names} | varied

    def _run(self, source: TrialSource, space: SearchSpace, parent_run_id: str, console: Console) -> None:
        """Ask, launch, tell, until no point is left or the first `max_failures` trials have all failed."""
        with _progress(console, source, self.objectives) as show:
            while batch := source.ask(self.batch_size):
                jobs = self.launcher.launch(
                    [
                        [*space.overrides(point), f"tracking.parent_run_id={parent_run_id}"]
                        for _, point in batch
                    ],
                    initial_job_idx=batch[0][0],
                )
                for (number, point), job in zip(batch, jobs, strict=True):
                    show(source.tell(_trial(number, point, job)))
                trials = source.trials
                if len(trials) >= (self.max_failures or source.total) and all(t.failure for t in trials):
                    return

    def _report_front(self, trials: Sequence[SweepTrial], tracking: Any, run: Any, console: Console) -> None:
        """Find the trials that none dominates; tag them, draw them, print them."""
        trials = [trial for trial in trials if np.isfinite(trial.values(self.objectives)).all()]
        if not trials:
            return
        objectives, directions = list(self.objectives), list(self.objectives.values())
        points = pareto.signed([trial.values(self.objectives) for trial in trials], directions)
        on_front = pareto.non_dominated(points)
        frame = _frame(trials)
        tracking.tag_front(frame["run_id"][on_front].tolist())
        run.log_metrics({"front_size": int(on_front.sum())})
        if len(objectives) > 1:
            reference = pareto.reference_point(points)
            for count, trial in enumerate(trials, start=1):
                volume = pareto.hypervolume(points[:count], reference)
                run.log_metrics({"hypervolume": volume}, step=trial.number)
        run.log_figure(report.front_figure(frame, objectives, directions), "front.html")
        run.log_figure(report.front_picture(frame, objectives, directions), "front.png")
        table = report.front_table(frame, objectives, directions)
        run.log_table(table, "front.json")
        report.print_front(console, table)


def _trial(number: int, point: Point, job: JobReturn) -> SweepTrial:
    outcome = job._return_value  # the public property prints to stderr and raises
    if job.status is JobStatus.COMPLETED and isinstance(outcome, TrialResult):
        return SweepTrial(number, point, outcome)
    error = outcome
    while isinstance(error, BaseException) and not isinstance(error, ConfigError):
        error = error.__cause__
    if error:  # bad input, perhaps below Hydra's account of a failed constructor call
        return SweepTrial(number, point, failure=_one_line(error))
    log.error("trial %d", number, exc_info=outcome if isinstance(outcome, BaseException) else None)
    return SweepTrial(number, point, failure=f"{type(outcome).__name__}: {_one_line(outcome)}")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _find(trials: Sequence[SweepTrial], points: Sequence[Point]) -> TrialResult | None:
    """The result of the first trial at one of these perhaps partial points."""
    hits = (t.result for t in trials for point in points if point.items() <= t.point.items())
    return next(hits, None)


def _frame(trials: Sequence[SweepTrial]) -> pd.DataFrame:
    """One row a trial: its number and run, the plan as it ran, what was varied, metrics."""
    rows = []
    for trial in trials:
        assert trial.result is not None
        identity = {"number": trial.number, "run_id": trial.result.run_id, "name": trial.result.name}
        varied = dict(trial.point)
        if "scheduler.carbon_weight" in varied:
            varied["carbon_weight"] = varied.pop("scheduler.carbon_weight")
        rows.append({**identity, **varied, **trial.result.labels, **trial.result.metrics})
    return pd.DataFrame(rows)


@contextmanager
def _progress(
    console: Console, source: TrialSource, objectives: Mapping[str, str]
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
