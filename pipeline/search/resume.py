"""Which stored study a sweep resumes: its name, its storage, and the values that its trials share. Shell."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from pipeline.search.jobs import trial_config
from pipeline.search.search_space import Point, SearchSpace
from pipeline.search.settings import Settings
from pipeline.search.studies.fixed_values import leaves
from pipeline.search.studies.journal import stored_names
from pipeline.search.studies.study import Study
from pipeline.tracking.tracking import Tracking

STUDIES = "studies"
"""Folder of studies where no `sweep.storage` is given; in the working directory, like MLflow's store."""
HELD_SETTINGS = ("objectives", "repeats", "sampler", "sampler_options", "seed", "constraints")
"""Settings of the sweep that must be the same in all trials of a study."""


def held_values(settings: Settings, space: SearchSpace, config: DictConfig) -> dict[str, str]:
    """The values shared by all trials of a study, by config key: settings, space, and the rest of the config.

    config: the config of one of the jobs.
    """
    varied = {key: override.get_value_string() for key, override in space.dimensions.items()}
    rest = {
        key: str(value)
        for key, value in leaves(OmegaConf.to_container(trial_config(config), resolve=True))
        if not key.startswith("tracking.") and not any(f"{key}.".startswith(f"{dim}.") for dim in varied)
    }
    own = {f"sweep.{name}": str(getattr(settings, name)) for name in HELD_SETTINGS}
    return own | varied | rest


@dataclass(frozen=True)
class StudyFinder:
    """Finds the study of a sweep in its storage, or opens a new one.

    A study is resumed under its name. By default the name contains a digest of the settings that determine
    its trials, so that the same command resumes the same study. `sweep.resume=false` takes a new name.
    """

    settings: Settings
    space: SearchSpace
    held: Mapping[str, str]
    """As `held_values` returns it."""
    title: Sequence[str]
    """First words of a study's name where the config gives none: the variant, the model, the fleet."""
    tracking: Tracking

    def open(self, enqueue: Sequence[Point], say: Callable[[str], None]) -> Study:
        """The study to run; a new one where MLflow no longer has the run of the stored one.

        say: prints a line that names the study. Raises ConfigError for a study of that name with other
        settings, and for a storage that cannot be used.
        """
        name = self.name()
        study = self._study(name, enqueue)
        while (parent := study.parent_run_id) is not None and not self.tracking.has(parent, name):
            known, name = name, next_name(name)
            say(f"The runs of study {known!r} are not in this MLflow store: study {name!r} is used instead")
            study = self._study(name, enqueue)
        if study.resumed:
            done = f"{len(study.trials)} of {study.total} trials are done"
            say(f"The study {name!r} is resumed: {done} (sweep.resume=false starts a new one)")
        return study

    def name(self) -> str:
        """The config's name, or one with a digest (see above); a new one with `sweep.resume=false`."""
        settings, name = self.settings, self.settings.study_name
        if name is None:
            how = (settings.sampler, settings.sampler_options, settings.seed, settings.warm_start)
            asked = json.dumps([self.held, how, settings.enqueue], sort_keys=True, default=str)
            digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
            name = " ".join([*self.title, settings.sampler, digest])
        while not settings.resume and name in stored_names(self.storage(name)):
            name = next_name(name)
        return name

    def storage(self, name: str) -> str:
        """The path or URL of the storage of the study with that name."""
        return self.settings.storage or f"{STUDIES}/{re.sub(r'[^A-Za-z0-9._=-]+', '-', name)}.journal"

    def _study(self, name: str, enqueue: Sequence[Point]) -> Study:
        settings = self.settings
        return Study(
            self.space,
            settings.objectives,
            held=self.held,
            name=name,
            storage=self.storage(name),
            total=settings.n_trials,
            enqueue=enqueue,
            sampler=settings.sampler,
            sampler_options=settings.sampler_options,
            seed=settings.seed,
            take_over=settings.take_over,
        )


def next_name(name: str) -> str:
    """The name of the next study after one of that name: `a`, `a (2)`, `a (3)`."""
    found = re.fullmatch(r"(.*) \((\d+)\)", name)
    return f"{found[1]} ({int(found[2]) + 1})" if found else f"{name} (2)"
