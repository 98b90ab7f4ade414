"""Where a sweep's trials come from: a grid, or an Optuna study by ask and tell. Shell: a study is stored."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from pipeline.domain import ConfigError, TrialResult, require
from pipeline.search_space import Point, SearchSpace

SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
}
MOST_DIFFERENCES = 3
"""Told of a study that cannot go on."""


@dataclass(frozen=True)
class SweepTrial:
    """One point of a sweep and what came of its repetitions; `failure` says why it does not count."""

    number: int
    point: Point
    results: tuple[TrialResult, ...] = ()
    failure: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """The mean over repetitions of each metric that all of them know."""
        each = [result.metrics for result in self.results]
        known = [key for key in (each[0] if each else ()) if all(key in metrics for metrics in each)]
        return {key: math.fsum(metrics[key] for metrics in each) / len(each) for key in known}

    def values(self, objectives: Mapping[str, str]) -> list[float]:
        """The objectives' values; NaN for those that it does not have."""
        metrics = self.metrics
        return [float(metrics.get(key, math.nan)) for key in objectives]


class TrialSource(Protocol):
    """Says which points come next and hears how they went."""

    total: int

    @property
    def trials(self) -> Sequence[SweepTrial]:
        """The trials that are finished."""
        ...

    def ask(self, num_trials: int) -> Sequence[tuple[int, Point]]:
        """The next points with their numbers, at most that many; none when the sweep is over."""
        ...

    def tell(self, trial: SweepTrial) -> SweepTrial:
        """Note a finished trial; gives back what was noted."""
        ...


class Grid:
    """Every combination of the dimensions' values, in order."""

    def __init__(self, space: SearchSpace) -> None:
        self._points = list(enumerate(space.grid()))
        self._trials: list[SweepTrial] = []
        self.total = len(self._points)

    @property
    def trials(self) -> Sequence[SweepTrial]:
        """The trials that are finished."""
        return self._trials

    def ask(self, num_trials: int) -> Sequence[tuple[int, Point]]:
        """The next points of the product."""
        return self._points[len(self._trials) : len(self._trials) + num_trials]

    def tell(self, trial: SweepTrial) -> SweepTrial:
        """Note a finished trial; gives back what was noted."""
        self._trials.append(trial)
        return trial


class Study:
    """An Optuna study. All it knows is in its storage, so another process can go on where this one stops.

    held: what is the same in all its trials (objectives, space, config), by config key. A stored study of
    that name goes on only under the very same, as its trials could not be compared otherwise.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: dict[str, str],
        *,
        held: Mapping[str, str],
        name: str,
        storage: str,
        total: int,
        enqueue: Sequence[Point],
        sampler: str,
        sampler_options: Mapping[str, Any],
        seed: int | None,
    ) -> None:
        self.total = total
        self._objectives = objectives
        self._distributions = space.distributions()
        own = np.random.SeedSequence(seed).generate_state(1)[0] if seed is None else seed
        self._sampler = partial(_sampler, name=sampler, options=sampler_options, seed=int(own))
        self._asked: dict[int, optuna.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [StudyDirection[direction.upper()] for direction in objectives.values()]
        first = self._sampler(0)
        try:
            self._study = optuna.create_study(
                study_name=name,
                storage=_open(storage),
                sampler=first,
                directions=directions,
                load_if_exists=True,
            )
        except ConfigError:
            raise
        except Exception as error:  # of whichever database it is
            raise ConfigError(f"sweep.storage: {str(error).splitlines()[0]}") from error
        self.resumed = len(self._study.get_trials(deepcopy=False)) > 0
        """Whether trials were stored before; those to begin with were then chosen when the study began."""
        if self.resumed:
            differences = _differences(self._study.user_attrs.get("held", {}), held)
            require(
                not differences,
                f"sweep.study_name: the study {name!r} is another: {differences}; choose another name",
            )
            return
        self._study.set_user_attr("held", dict(held))
        for point in enqueue:
            self._study.enqueue_trial(point)

    @property
    def trials(self) -> Sequence[SweepTrial]:
        """The trials that are finished, whichever process ran them."""
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        return [
            SweepTrial(
                trial.number,
                dict(trial.params),
                tuple(TrialResult(**result) for result in trial.user_attrs.get("results", ())),
                trial.user_attrs.get("failure", ""),
            )
            for trial in finished
        ]

    def ask(self, num_trials: int) -> Sequence[tuple[int, Point]]:
        """Sample the next points."""
        return [self._ask() for _ in range(min(num_trials, self.total - len(self.trials)))]

    def _ask(self) -> tuple[int, Point]:
        trials = self._study.get_trials(deepcopy=False)
        number = next((t.number for t in trials if t.state is TrialState.WAITING), len(trials))
        self._study.sampler = self._sampler(number)
        trial = self._study.ask(self._distributions)
        self._asked[trial.number] = trial
        return trial.number, trial.params

    def tell(self, trial: SweepTrial) -> SweepTrial:
        """Store the trial. One without a finite value for each objective is a failure."""
        asked = self._asked.pop(trial.number)
        values = trial.values(self._objectives)
        bad = [key for key, value in zip(self._objectives, values, strict=True) if not math.isfinite(value)]
        failure = trial.failure or (f"no finite {', '.join(bad)}" if bad else "")
        if trial.results:
            asked.set_user_attr("results", [asdict(result) for result in trial.results])
        if failure:
            asked.set_user_attr("failure", failure)
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            self._study.tell(asked, values)
        return replace(trial, failure=failure)


def _sampler(number: int, name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler of one trial, seeded by the study's seed and its number: a resumed study asks the same."""
    own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    settings: dict[str, Any] = {"seed": own}
    if name == "qmc":  # one sequence for the whole study, which counts the trials itself
        settings = {"seed": seed, "scramble": True, "independent_sampler": RandomSampler(own)}
    make: Any = SAMPLERS[name]
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            return make(**settings | dict(options))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sweep.sampler_options: {error}") from error


def _differences(stored: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first few keys that differ, with both values; empty where none does."""
    absent = "not set"
    differences = [
        f"{key} was {stored.get(key, absent)} and is {now.get(key, absent)}"
        for key in dict.fromkeys([*now, *stored])
        if stored.get(key) != now.get(key)
    ]
    more = len(differences) - MOST_DIFFERENCES
    return "; ".join(differences[:MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _open(storage: str) -> BaseStorage | str:
    if "://" in storage:
        return storage
    require(
        storage.endswith(".journal"),
        f"sweep.storage must be a path ending in .journal or a storage URL (it is {storage!r})",
    )
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(storage))
