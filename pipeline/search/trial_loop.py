"""Runs a study's trials by Hydra's launcher, and logs the sweep's progress after each. Shell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from pipeline.carbon.meters.reading import NoMeter
from pipeline.domain.checks import require
from pipeline.domain.plan import Plan
from pipeline.planning import pareto
from pipeline.search.exact_reference import BESIDE_THE_PROBLEM, ExactReference
from pipeline.search.jobs import job_overrides, tracking_overrides, trial_of
from pipeline.search.reporting.progress import progress
from pipeline.search.search_space import SearchSpace
from pipeline.search.settings import Settings
from pipeline.search.studies.study import Study
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.background_sender import sending_in_background
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.tracking import Tracking

BACKGROUND_SENDER_FROM = 100
"""Fewest trials left for which a process is started to send them; it takes as long to start."""


@dataclass(frozen=True)
class Session:
    """The objects that all sweeps of one command share."""

    config: DictConfig
    """The config of the multirun, without the keys that vary."""
    loader: ConfigLoader
    launcher: Launcher
    tracking: Tracking
    console: Console


@dataclass(frozen=True)
class TrialLoop:
    """Asks the study for points, launches their jobs, stores the results in the study, and logs progress."""

    session: Session
    settings: Settings
    space: SearchSpace
    config: DictConfig
    """The config of one of the jobs."""
    study: Study
    reference: ExactReference | None
    run: Run
    """The sweep's."""

    def run_all(self) -> dict[str, float]:
        """Run trials until no point is left or too many have failed.

        Returns the metrics of the last progress: `regret_to_exact` and `hypervolume`, where known.
        """
        settings, study, tracking = self.settings, self.study, self.session.tracking
        earlier = study.trials  # of a study that is resumed
        logged = tracking.steps(self.run.run_id, "hypervolume") if earlier and self.reference else set()
        for step in range(len(earlier)):
            if step not in logged:
                self.run.log_metrics(self._progress(earlier[: step + 1]), step=step)
        figures = self._progress(earlier)
        sending = sending_in_background(tracking) if self._in_background else nullcontext(tracking.deliver)
        with sending as deliver, progress(self.session.console, study, settings.objectives) as show:
            while batch := study.ask(settings.batch_size):
                jobs = self.session.launcher.launch(
                    [
                        [
                            *overrides,
                            *tracking_overrides(self.space, number, self.run.run_id, self._in_background),
                        ]
                        for number, point in batch
                        for overrides in job_overrides(self.space, settings.repeats, point)
                    ],
                    initial_job_idx=batch[0][0] * settings.repeats,
                )
                for index, (number, point) in enumerate(batch):
                    own = jobs[index * settings.repeats : (index + 1) * settings.repeats]
                    trial = trial_of(number, point, own)
                    show(study.tell(trial, settings.beyond(trial.metrics)))
                    deliver([result.run_id for result in trial.results])
                    finished = study.trials
                    figures = self._progress(finished)
                    self.run.log_metrics(figures, step=len(finished) - 1)
                    self.run.flush()
                if self._too_many_failed(study.trials):
                    break
        return figures

    @cached_property
    def _in_background(self) -> bool:
        """Whether another process sends the trials: where they are many, and it disturbs no measurement."""
        parts = ("backend", "meter")
        left = (self.study.total - len(self.study.trials)) * self.settings.repeats
        if (
            left < BACKGROUND_SENDER_FROM
            or not self.space.families <= BESIDE_THE_PROBLEM.difference(parts)
            or not all(part in self.config for part in parts)
        ):
            return False
        backend, meter = (instantiate(self.config[part]) for part in parts)
        return not backend.computes and isinstance(meter, NoMeter)

    def _progress(self, trials: Sequence[SweepTrial]) -> dict[str, float]:
        """The regret and the hypervolume of the trials, where there is an exact reference."""
        if self.reference is None or not trials:
            return {}
        kept = [trial for trial in trials if not trial.failure and self.settings.met_by(trial.metrics)]
        results = [result for trial in kept for result in trial.results]
        objectives = self.settings.objectives
        values = [trial.values(objectives) for trial in kept] or [[math.nan] * len(objectives)]
        return {
            "regret_to_exact": self.reference.regret([Plan(**r.plan) for r in results if r.plan]),
            "hypervolume": pareto.hypervolume(values, self.reference.measured_reference),
        }

    def _too_many_failed(self, trials: Sequence[SweepTrial]) -> bool:
        failed = sum(bool(trial.failure) for trial in trials)
        return failed > self.settings.max_failure_rate * self.study.total

    def require_few_failures(self, trials: Sequence[SweepTrial]) -> None:
        """Raise ConfigError where more trials failed than `sweep.max_failure_rate` allows."""
        failures = [trial.failure for trial in trials if trial.failure]
        require(
            not self._too_many_failed(trials),
            f"{len(failures)} of {self.study.total} trials failed, more than sweep.max_failure_rate="
            f"{self.settings.max_failure_rate:g} of them; the first: {failures[0] if failures else ''}",
        )
