"""The config's `sweep`, checked: how a sweep chooses, runs and judges its trials. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from pipeline.domain.checks import ConfigError, require, require_mapping, require_seed, require_whole
from pipeline.domain.credentials import require_maskable
from pipeline.planning import pareto
from pipeline.results.metric_keys import metric
from pipeline.search.studies.samplers import GRID, SAMPLERS

MAPPINGS = (
    "objectives",
    "params",
    "conditions",
    "constraints",
    "compare",
    "published",
    "baseline",
    "sampler_options",
    "variants",
)
"""Settings that are mappings."""
MOST_TRIALS = 1_000_000
"""Most trials, repetitions and trials at once that can be meant."""


@dataclass(frozen=True)
class Settings:
    """The config's `sweep`. conf/sweep/none.yaml explains the keys and gives each its default.

    Raises ConfigError naming the key that is bad.
    """

    objectives: dict[str, Any]
    params: dict[str, Any]
    conditions: dict[str, Any]
    constraints: dict[str, Any]
    compare: dict[str, Any]
    published: dict[str, Any]
    baseline: dict[str, Any]
    enqueue: list[Any]
    warm_start: str | None
    sampler: str
    sampler_options: dict[str, Any]
    seed: int | None
    n_trials: int
    repeats: int
    batch_size: int
    max_failure_rate: float
    resume: bool
    take_over: bool
    storage: str | None
    study_name: str | None
    variants: dict[str, Any]

    def __post_init__(self) -> None:
        self._clean_mappings()
        self._require_mappings_inside()
        self._require_numbers()
        self._require_switches_and_names()
        self._require_objectives()
        _ = self.limits  # raises for a bad constraint

    def _clean_mappings(self) -> None:
        for name in MAPPINGS:
            require_mapping(f"sweep.{name}", getattr(self, name), "keys to values")
            # YAML merges mappings: null removes an entry
            kept = {key: value for key, value in getattr(self, name).items() if value is not None}
            object.__setattr__(self, name, kept)
        object.__setattr__(self, "baseline", _flat(self.baseline))

    def _require_mappings_inside(self) -> None:
        self._require("enqueue", isinstance(self.enqueue, list), "a list of mappings")
        entries = {
            f"{owner}.{name}": entry
            for owner in ("compare", "published", "variants")
            for name, entry in getattr(self, owner).items()
        }
        entries |= {f"enqueue.{index}": entry for index, entry in enumerate(self.enqueue)}
        for key, entry in entries.items():
            require(isinstance(entry, dict), f"sweep.{key} must be a mapping (it is {entry!r})")
        require(
            len(self.compare) <= 2,
            "sweep.compare: two points are compared; set the others to null "
            f"(it has {', '.join(self.compare)})",
        )

    def _require_numbers(self) -> None:
        for name in ("n_trials", "repeats", "batch_size"):
            require_whole("sweep", name, getattr(self, name), least=1, most=MOST_TRIALS)
        if self.seed is not None:
            require_seed("sweep", self.seed)
        rate = self.max_failure_rate
        good = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1
        self._require("max_failure_rate", good, "a number from 0 to 1")

    def _require_switches_and_names(self) -> None:
        for name in ("resume", "take_over"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        for name in ("storage", "study_name"):
            value = getattr(self, name)
            self._require(name, value is None or (isinstance(value, str) and value != ""), "a text, or null")
        require_maskable("sweep.storage", self.storage or "")
        for name, known in (("sampler", [GRID, *SAMPLERS]), ("warm_start", [None, "exact"])):
            value, listed = getattr(self, name), ", ".join("null" if one is None else one for one in known)
            require(value in known, f"sweep.{name}: unknown {value!r} (one of {listed})")
        require(
            self.sampler != GRID or self.warm_start is None,
            f"sweep.warm_start: a grid has no first trials; set sweep.sampler ({', '.join(SAMPLERS)})",
        )

    def _require_objectives(self) -> None:
        require(len(self.objectives) > 0, "sweep.objectives: at least one metric must be given")
        try:
            pareto.signed([[0.0] * len(self.objectives)], list(self.objectives.values()))
            for key in self.objectives:
                metric(key)
        except ValueError as error:
            raise ConfigError(f"sweep.objectives: {error}") from error

    def _require(self, name: str, good: bool, wanted: str) -> None:
        require(good, f"sweep.{name} must be {wanted} (it is {getattr(self, name)!r})")

    @classmethod
    def of(cls, values: Any) -> Self:
        """The settings from the config. Raises ConfigError naming the key that is unknown, missing or bad."""
        require(isinstance(values, dict), f"sweep must be a mapping (it is {values!r})")
        _require_known("sweep", values)
        for f in fields(cls):
            require(f.name in values, f"sweep.{f.name}: missing (begin the file with `defaults: [none]`)")
        return cls(**values)

    def each(self) -> dict[str, Settings]:
        """The settings of each sweep to run, by name: the variants, or the only sweep, whose name is empty.

        Raises ConfigError for a variant with a bad setting, or with variants of its own.
        """
        shared = {f.name: getattr(self, f.name) for f in fields(self)} | {"variants": {}}
        for name, changes in self.variants.items():
            _require_known(f"sweep.variants.{name}", changes)
            require("variants" not in changes, f"sweep.variants.{name}: a variant has no variants of its own")
        return {
            name: Settings(
                **shared | {"study_name": self.study_name and f"{self.study_name} {name}"} | changes
            )
            for name, changes in self.variants.items()
        } or {"": self}

    @cached_property
    def limits(self) -> list[Constraint]:
        """The constraints, parsed."""
        return [Constraint.of(key, bound) for key, bound in self.constraints.items()]

    def beyond(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """How far a trial is beyond each constraint's bound, by metric, as `Constraint.beyond` returns it."""
        return {one.key: one.beyond(metrics) for one in self.limits}

    def met_by(self, metrics: Mapping[str, float]) -> bool:
        """Whether a trial's metrics meet all constraints."""
        return all(beyond <= 0 for beyond in self.beyond(metrics).values())


@dataclass(frozen=True)
class Constraint:
    """A condition for a trial to be on the front: an upper or a lower bound of a metric."""

    key: str
    sign: int
    """1: the bound is an upper one; -1: a lower one."""
    bound: float

    @classmethod
    def of(cls, key: str, text: object) -> Constraint:
        """The constraint of a number (an upper bound), or a text such as `<= 0.01` or `>= 5`.

        Bounds are in the metric's own unit. Raises ConfigError for an unknown metric and for another text.
        """
        try:
            metric(key)
        except ValueError as error:
            raise ConfigError(f"sweep.constraints: {error}") from error
        found = re.fullmatch(r"\s*(<=|>=)?\s*(\S+)\s*", str(text))
        try:
            bound = float(found[2]) if found and not isinstance(text, bool) else math.nan
        except ValueError:
            bound = math.nan
        require(
            found is not None and math.isfinite(bound),
            f"sweep.constraints.{key}: must be a number, which is an upper bound, or a text such as '>= 5' "
            f"({text!r})",
        )
        assert found is not None
        return cls(key, -1 if found[1] == ">=" else 1, bound)

    def beyond(self, metrics: Mapping[str, float]) -> float:
        """How far the metric is beyond the bound: 0 or less where it is not, infinite where it is unknown."""
        value = metrics.get(self.key, math.nan)
        return math.inf if math.isnan(value) else self.sign * (value - self.bound)


def _flat(nested: Mapping[str, Any], owner: str = "") -> dict[str, Any]:
    """Nested mappings as one, by full key: `+sweep.baseline.partitioner.device=x` nests them."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= _flat(value, f"{owner}{key}.") if isinstance(value, dict) else {f"{owner}{key}": value}
    return found


def _require_known(owner: str, values: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(Settings)]
    for key in values:
        require(key in known, f"{owner}: unknown key {key!r} (known: {', '.join(known)})")
