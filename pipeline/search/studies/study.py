"""The source of a sweep's points and the store of its results: an Optuna study, by ask and tell. Shell.

The study is authoritative; MLflow shows its trials. The whole state of a study is in its storage, so that
another process can resume it after a kill, or work on it at the same time.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.domain.credentials import masked
from pipeline.domain.printable import all_printable
from pipeline.domain.trial_result import TrialResult
from pipeline.host.locks import machine_lock
from pipeline.host.processes import alive, is_identity, this_process
from pipeline.results.metric_keys import is_metric
from pipeline.results.metric_values import require_metrics
from pipeline.search.search_space import Point, SearchSpace, Value, on_step
from pipeline.search.studies.database import patiently
from pipeline.search.studies.fixed_values import require_same_held
from pipeline.search.studies.journal import open_storage
from pipeline.search.studies.samplers import GRID, make_sampler
from pipeline.search.studies.sweep_trial import SweepTrial

_log = logging.getLogger(__name__)
FINISHED = (TrialState.COMPLETE, TrialState.FAIL)
IDENTITY = ("number", "repeat", "run_id", "name")
"""Columns of a table of trials that a label must not replace."""
POLL_S = 1.0
"""Seconds between checks of the trials that other sweeps on the same study have under way."""


class Study:
    """A stored study of a search space. Any number of processes may work on it.

    Where a process died during a trial, the next call of `ask` runs that trial again, under its number
    and at its point. Each trial's draws are seeded by the study's seed and the trial's number. So a study
    that was killed ends with the same points as an undisturbed one.

    held: values that all its trials share (objectives, space, config), by config key. A stored study of
    that name is resumed only where these are equal, as its trials could not be compared otherwise.
    take_over: also run again the trials that processes of other machines have under way. This machine cannot
    find out whether those processes are alive.
    sampler: one of SAMPLERS, or `grid`: every combination in turn, whatever `total` is.

    Raises ConfigError for bad sampler options, a storage that cannot be read, and another study of that name.
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
        take_over: bool = False,
    ) -> None:
        self._take_over = take_over
        self.name, self._objectives, self._space = name, objectives, space
        self._asked: dict[int, optuna.Trial] = {}
        self._finished: dict[int, SweepTrial] = {}
        self._grid = list(space.grid()) if sampler == GRID else None
        self.total = total if self._grid is None else len(self._grid)
        self._distributions = {} if sampler == GRID else space.distributions()
        study_seed = np.random.SeedSequence(seed).generate_state(1)[0] if seed is None else seed
        sampler_name, options = ("random", {}) if sampler == GRID else (sampler, sampler_options)
        self._sampler = partial(make_sampler, name=sampler_name, options=options, seed=int(study_seed))
        self._sampler((0,))  # raises for bad options
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.turn = machine_lock(f"{os.path.abspath(storage)} {name}")
        """Lock to hold while changing state that other processes rely on."""
        with self.turn:
            self._study = self._open(storage, held)
            self.resumed = len(self._study.get_trials(deepcopy=False)) > 0
            """Whether the study had trials when it was opened. If so, its first points are chosen already."""
            self.total = max(self.total, len(self.trials))
            if not self.resumed:
                for point in enqueue if self._grid is None else ():
                    self._study.enqueue_trial(point)

    def _open(self, storage: str, held: Mapping[str, str]) -> optuna.Study:
        directions = [StudyDirection[direction.upper()] for direction in self._objectives.values()]
        try:
            study = optuna.create_study(
                study_name=self.name,
                storage=open_storage(storage),
                directions=directions,
                load_if_exists=True,
            )
            stored = study.user_attrs.get("held")
        except ConfigError:
            raise
        except Exception as error:  # each database has exceptions of its own
            raise ConfigError(
                masked(f"sweep.storage: cannot read {storage} ({first_line(error)}); it is unchanged")
            ) from error
        if stored is None:
            study.set_user_attr("held", dict(held))
        else:
            require_same_held(self.name, stored, held)
        return study

    @property
    def parent_run_id(self) -> str | None:
        """The MLflow run that holds its trials; None before the first."""
        found: str | None = patiently(lambda: self._study.user_attrs).get("parent_run_id")
        return found

    def set_parent_run_id(self, run_id: str) -> None:
        """Store which MLflow run holds its trials."""
        if run_id != self.parent_run_id:
            patiently(lambda: self._study.set_user_attr("parent_run_id", run_id))

    @property
    def trials(self) -> Sequence[SweepTrial]:
        """The finished trials, whichever process ran them, by number."""
        finished = patiently(lambda: self._study.get_trials(deepcopy=False, states=FINISHED))
        for trial in finished:
            if trial.number not in self._finished:  # a finished trial does not change
                self._finished[trial.number] = _checked(self.name, trial)
        return [self._finished[trial.number] for trial in finished]

    def ask(self, num_trials: int) -> Sequence[tuple[int, Point]]:
        """The next points with their numbers, at most `num_trials`; none when the study is complete.

        Batches begin at multiples of `num_trials`, so that a batch which a kill cut short is filled up as it
        would have been. Where other processes have all remaining trials under way, `ask` waits until these
        have finished or died.
        """
        warned = False
        while True:
            batch, others = patiently(lambda: self._batch(num_trials))
            if batch or not others:
                return batch
            if not warned:
                warned = True
                owners = [(trial.number, trial.user_attrs.get("owner", ("?", "?"))) for trial in others]
                listed = ", ".join(f"{number} (process {owner[1]} on {owner[0]})" for number, owner in owners)
                _log.warning(
                    "waiting for trials that are under way elsewhere: %s; sweep.take_over=true runs those of "
                    "other machines again, for machines that are gone",
                    listed,
                )
            time.sleep(POLL_S)

    def _batch(self, num_trials: int) -> tuple[list[tuple[int, Point]], list[FrozenTrial]]:
        """The next points as `ask` returns them; if there are none, the trials that are under way."""
        asked = dict(self._asked)
        try:
            with self.turn:
                trials = self._study.get_trials(deepcopy=False)
                running = [trial for trial in trials if trial.state is TrialState.RUNNING]
                dead = [trial for trial in running if not self._may_live(trial)]
                waiting = [trial.number for trial in trials if trial.state is TrialState.WAITING]
                following = waiting[0] if waiting else len(trials)
                due = num_trials - following % num_trials
                if dead and due == num_trials:  # the batch that was cut short was complete
                    due = 0
                begun = sum(trial.state is not TrialState.WAITING for trial in trials)
                again = [self._begun(trial._trial_id, trial.number) for trial in dead[:num_trials]]
                fresh = [self._new() for _ in range(min(due, self.total - begun))]
                return [*again, *fresh], running
        except BaseException:
            self._asked = asked  # what was begun is dead
            raise

    def _may_live(self, trial: FrozenTrial) -> bool:
        """Whether the process that runs a trial may be alive. On another machine it may, unless taken over.

        A trial without an owner belongs to a process that died inside `ask`, as the caller has the lock; and
        one of this process that it does not remember, to an `ask` that failed.
        """
        owner = trial.user_attrs.get("owner")
        require(
            owner is None or is_identity(owner),
            f"sweep.storage: study {self.name}: the owner of trial {trial.number} is broken ({owner!r:.60})",
        )
        if owner is None or (list(owner) == this_process() and trial.number not in self._asked):
            return False
        return alive(owner) and not (self._take_over and owner[0] != this_process()[0])

    def _new(self) -> tuple[int, Point]:
        trials = self._study.get_trials(deepcopy=False)
        number = next((t.number for t in trials if t.state is TrialState.WAITING), len(trials))
        self._study.sampler = self._sampler((number,))
        trial = self._study.ask()
        return self._begun(trial._trial_id, trial.number)

    def _begun(self, trial_id: int, number: int) -> tuple[int, Point]:
        """Begin a trial: draw the dimensions that are not yet drawn, each with a seed of its own."""
        self._study.sampler = self._sampler((number,))
        trial = self._asked[number] = optuna.Trial(self._study, trial_id)
        trial.set_user_attr("owner", this_process())
        if self._grid is not None:
            point = self._grid[number]
            trial.set_user_attr("point", point)
            return number, point
        _ = trial.relative_params  # drawn together, under the trial's own seed
        point = {}
        for index, (key, distribution) in enumerate(self._distributions.items(), start=1):
            if self._space.active(key, point):
                self._study.sampler = self._sampler((number, index))
                point[key] = _suggested(trial, key, distribution)
        return number, point

    def tell(self, trial: SweepTrial, beyond: Mapping[str, float] | None = None) -> SweepTrial:
        """Store a trial and return it as stored.

        beyond: how far the trial is beyond each constraint's bound, by metric. A trial without a finite value
        for each objective is a failure; in a grid it is not, as no sampler learns from it.
        """
        values = trial.values(self._objectives)
        bad = [key for key, value in zip(self._objectives, values, strict=True) if not math.isfinite(value)]
        failure = trial.failure or (
            f"no finite {', '.join(bad)}" if bad and not (self._grid is not None and trial.results) else ""
        )
        asked = self._asked.pop(trial.number)

        def store() -> None:
            if self._study.get_trials(deepcopy=False)[trial.number].state in FINISHED:
                return  # before the connection was lost
            if trial.results:
                asked.set_user_attr("results", [asdict(result) for result in trial.results])
            for key, distance in (beyond or {}).items():
                asked.set_constraint(key, distance)
            if failure:
                asked.set_user_attr("failure", failure)
                self._study.tell(asked, state=TrialState.FAIL)
            else:
                self._study.tell(asked, [value if math.isfinite(value) else math.inf for value in values])

        patiently(store)
        return replace(trial, failure=failure)


def _checked(study: str, trial: FrozenTrial) -> SweepTrial:
    """A trial that the storage has finished. Raises ConfigError for one that no sweep stores."""
    owner = f"sweep.storage: study {study}: trial {trial.number}"
    stored = all_printable(trial.user_attrs)
    try:
        results = tuple(TrialResult.checked(owner, result) for result in stored.get("results", ()))
        for result in results:
            mixed = [name for name in result.labels if is_metric(name) or name in IDENTITY]
            require(not mixed, f"{owner}: {', '.join(mixed)[:60]} is no label")
            known = {
                key: each for key, each in result.metrics.items() if each is not None and math.isfinite(each)
            }
            require_metrics(owner, known)  # others are unknown
        point = _point(trial)
    except ConfigError:
        raise
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{owner} is broken ({first_line(error)})") from error
    return SweepTrial(trial.number, point, results, str(stored.get("failure", "")))


def _point(trial: FrozenTrial) -> Point:
    drawn = {key: on_step(trial.distributions[key], value) for key, value in trial.params.items()}
    return dict(trial.user_attrs.get("point", drawn))


def _suggested(trial: optuna.Trial, key: str, distribution: BaseDistribution) -> Value:
    found: Value
    if isinstance(distribution, CategoricalDistribution):
        found = trial.suggest_categorical(key, distribution.choices)  # type: ignore[assignment]
    elif isinstance(distribution, IntDistribution):
        found = trial.suggest_int(
            key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    else:
        assert isinstance(distribution, FloatDistribution)
        found = trial.suggest_float(
            key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    return on_step(distribution, found)
