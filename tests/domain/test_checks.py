"""A number that cannot be meant is refused, by the unit in which its name ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hydra.errors import InstantiationException

from pipeline.domain.checks import ConfigError, require_number, require_seed
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.network.models.spec import ModelSpec
from pipeline.results.validation import Validation
from tests.conftest import configured


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("active_w", 1e6, None),
        ("active_w", 1.1e6, "fleet: active_w must be at most 1e\\+06 .active_w: 1100000.0."),
        ("intensity_g_per_kwh", 2001, "must be at most 2000"),
        ("bandwidth_bytes_per_s", 1e15, None),
        ("memory_bytes", 1e300, "must be at most 1e\\+15"),
        ("energy_j_per_byte", 1.5, "must be at most 1 "),
        ("latency_s", 1e300, "must be at most 1e\\+09"),
        ("speed", 1e300, "must be at most 1e\\+09"),
        ("speed", math.inf, "must be a number > 0"),
        ("speed", math.nan, "must be a number > 0"),
        ("speed", -1, "must be a number > 0"),
        ("speed", True, "must be a number > 0"),
        ("speed", "fast", "must be a number > 0 .speed: 'fast'."),
        ("speed", None, "must be a number > 0"),
    ],
)
def test_a_number(name: str, value: object, complaint: str | None) -> None:
    if complaint is None:
        require_number("fleet", name, value, least=0, above=True)
        return
    with pytest.raises(ConfigError, match=complaint):
        require_number("fleet", name, value, least=0, above=True)


def test_an_own_limit_replaces_the_units() -> None:
    require_number("accounting.ranges", "active_w", 1000, least=0, most=1e3)
    with pytest.raises(ConfigError, match="accounting.ranges: active_w must be at most 1000"):
        require_number("accounting.ranges", "active_w", 1001, least=0, most=1e3)


def test_a_seed_is_one_that_every_random_generator_takes() -> None:
    for seed in (0, 2**63 - 1):
        require_seed("model", seed)
        torch.manual_seed(seed)
    for bad in (-1, 2**63, 99999999999999999999999, 1.5, True, None, "x"):
        with pytest.raises(
            ConfigError, match=r"^model\.seed: must be a whole number from 0 to 9223372036854775807"
        ):
            require_seed("model", bad)


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("backend.seed", Simulated),
        ("images.seed", partial(configured, "images", "photographs")),
        ("model.seed", partial(ModelSpec, "mobilenet_v2", "torchvision")),
        ("partitioner.seed", partial(configured, "partitioner", "random")),
        ("scheduler.seed", partial(configured, "scheduler", "deferring")),
        ("scheduler.seed", partial(configured, "scheduler", "random")),
        ("validation.seed", Validation),
        ("workload.seed", Closed),
        ("workload.seed", partial(Poisson, rate_rps=1)),
    ],
)
def test_every_seed_has_that_bound(key: str, make: Callable[..., object]) -> None:
    with pytest.raises(
        (ConfigError, InstantiationException), match=f"{key}: must be a whole number from 0 to"
    ):
        make(seed=99999999999999999999999)
