"""Optuna's samplers, seeded by trial and dimension."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler

from pipeline.domain.checks import ConfigError, require

SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
}
"""Beside `grid`, which takes every combination in turn."""
GRID = "grid"


def make_sampler(place: tuple[int, ...], name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler of a trial (its number) or of a dimension of it, seeded by place and study."""
    own = int(np.random.SeedSequence((seed, *place)).generate_state(1)[0])
    settings: dict[str, Any] = {"seed": own}
    if name == "qmc":  # one sequence for the whole study, which counts the trials itself
        settings = {"seed": seed, "scramble": True, "independent_sampler": RandomSampler(own)}
    make: Any = SAMPLERS[name]
    for option, parameter in inspect.signature(make).parameters.items():
        value, own_value = options.get(option), parameter.default
        wanted = (int, float) if type(own_value) in (float, type(None)) else type(own_value)
        require(
            value is None or (isinstance(value, wanted) and "Callable" not in str(parameter.annotation)),
            f"sweep.sampler_options.{option}: {value!r} does not do for {make.__name__}",
        )
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            return make(**settings | dict(options))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sweep.sampler_options: {error}") from error
