"""The config's `sweep`, checked: how a sweep goes about it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from pipeline.domain.checks import ConfigError, require
from pipeline.planning import pareto
from pipeline.results.metric_table import metric
from pipeline.search.samplers import GRID, SAMPLERS


@dataclass(frozen=True)
class Settings:
    """The config's `sweep`. conf/sweep/none.yaml explains the keys and gives each its default."""

    objectives: dict[str, Any]
    params: dict[str, Any]
    conditions: dict[str, Any]
    constraints: dict[str, Any]
    compare: dict[str, Any]
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
        mappings = ("objectives", "params", "conditions", "constraints", "compare", "baseline")
        for name in (*mappings, "sampler_options", "variants"):
            self._require(name, isinstance(getattr(self, name), dict), "a mapping")
            # YAML merges mappings: null takes an entry out
            kept = {key: value for key, value in getattr(self, name).items() if value is not None}
            object.__setattr__(self, name, kept)
        object.__setattr__(self, "baseline", _flat(self.baseline))
        self._require("enqueue", isinstance(self.enqueue, list), "a list of mappings")
        for owner in ("compare", "variants"):
            for name, entry in getattr(self, owner).items():
                require(isinstance(entry, dict), f"sweep.{owner}.{name} must be a mapping (it is {entry!r})")
        for index, entry in enumerate(self.enqueue):
            require(isinstance(entry, dict), f"sweep.enqueue.{index} must be a mapping (it is {entry!r})")
        for name, least in (
            ("n_trials", 1),
            ("repeats", 1),
            ("batch_size", 1),
            ("seed", 0),
        ):
            value, optional = getattr(self, name), name == "seed"
            good = isinstance(value, int) and not isinstance(value, bool) and value >= least
            wanted = f"a whole number >= {least}{', or null' if optional else ''}"
            self._require(name, good or (optional and value is None), wanted)
        rate = self.max_failure_rate
        good = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1
        self._require("max_failure_rate", good, "a number from 0 to 1")
        for name in ("resume", "take_over"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        for name in ("storage", "study_name"):
            value = getattr(self, name)
            self._require(name, value is None or (isinstance(value, str) and value != ""), "a text, or null")
        for name, known in (("sampler", [GRID, *SAMPLERS]), ("warm_start", [None, "exact"])):
            value, listed = getattr(self, name), ", ".join("null" if one is None else one for one in known)
            require(value in known, f"sweep.{name}: unknown {value!r} (one of {listed})")
        require(
            self.sampler != GRID or self.warm_start is None,
            f"sweep.warm_start: a grid has no first trials; set sweep.sampler ({', '.join(SAMPLERS)})",
        )
        require(len(self.objectives) > 0, "sweep.objectives: at least one metric must be given")
        try:
            pareto.signed([[0.0] * len(self.objectives)], list(self.objectives.values()))
            for key in self.objectives:
                metric(key)
        except ValueError as error:
            raise ConfigError(f"sweep.objectives: {error}") from error
        for key, bound in self.constraints.items():
            Constraint.of(key, bound)

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
        """The sweeps to make, by name: the variants, or the only one, which has no name."""
        own = {f.name: getattr(self, f.name) for f in fields(self)} | {"variants": {}}
        for name, changes in self.variants.items():
            _require_known(f"sweep.variants.{name}", changes)
            require("variants" not in changes, f"sweep.variants.{name}: a variant has no variants of its own")
        return {
            name: Settings(**own | {"study_name": self.study_name and f"{self.study_name} {name}"} | changes)
            for name, changes in self.variants.items()
        } or {"": self}


@dataclass(frozen=True)
class Constraint:
    """What a trial must keep to be on the front: a metric at most, or at least, a bound."""

    key: str
    sign: int
    """1: at most; -1: at least."""
    bound: float

    @classmethod
    def of(cls, key: str, text: object) -> Constraint:
        """From a number, or a text such as `<= 0.01` or `>= 5`, in the metric's own unit."""
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
            f"sweep.constraints.{key}: must be a number that it may be at most, or such as '>= 5' ({text!r})",
        )
        assert found is not None
        return cls(key, -1 if found[1] == ">=" else 1, bound)

    def beyond(self, metrics: Mapping[str, float]) -> float:
        """How far a trial is beyond it: 0 or less where it keeps it, infinite where it lacks the metric."""
        return self.sign * (metrics[self.key] - self.bound) if self.key in metrics else math.inf


def _flat(nested: Mapping[str, Any], owner: str = "") -> dict[str, Any]:
    """By full key, as `+sweep.baseline.partitioner.device=x` means it."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= _flat(value, f"{owner}{key}.") if isinstance(value, dict) else {f"{owner}{key}": value}
    return found


def _require_known(owner: str, values: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(Settings)]
    for key in values:
        require(key in known, f"{owner}: unknown key {key!r} (known: {', '.join(known)})")
