"""Optuna's samplers, seeded by trial and dimension. Pure."""

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
"""Samplers by their names in the config."""
GRID = "grid"
"""The name for every combination in turn, without a sampler."""


def make_sampler(place: tuple[int, ...], name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler of a trial, or of one dimension of a trial, seeded by the study's seed and its place.

    place: the trial's number, or that and the dimension's index. Raises ConfigError for a bad option.
    """
    place_seed = int(np.random.SeedSequence((seed, *place)).generate_state(1)[0])
    settings: dict[str, Any] = {"seed": place_seed}
    if name == "qmc":  # one sequence for the whole study; it counts the trials itself
        settings = {"seed": seed, "scramble": True, "independent_sampler": RandomSampler(place_seed)}
    make: Any = SAMPLERS[name]
    for option, parameter in inspect.signature(make).parameters.items():
        value, default = options.get(option), parameter.default
        wanted = (int, float) if type(default) in (float, type(None)) else type(default)
        require(
            value is None or (isinstance(value, wanted) and "Callable" not in str(parameter.annotation)),
            f"sweep.sampler_options.{option}: {value!r} is not a valid value for {make.__name__}",
        )
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            return make(**settings | dict(options))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sweep.sampler_options: {error}") from error
