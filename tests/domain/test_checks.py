"""A number that cannot be meant is refused, by the unit in which its name ends."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException

from partitioners.exact import Exact
from partitioners.explicit import Explicit
from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.domain.checks import ConfigError, is_finite_number, require_number, require_seed, utc
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.job import Outage
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.network.models.spec import ModelSpec
from pipeline.results.validation import Validation
from schedulers.budget import Budget
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
        ("speed", 10**400, "must be a number > 0 .speed: 10{59}.$"),  # too large for a float
        ("speed", -(10**400), "must be a number > 0"),
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


def test_whether_a_float_holds_it() -> None:
    assert all(map(is_finite_number, (0, -1, 1.5, 10**300, -1e300)))
    others = (True, None, "1", math.nan, -math.inf, 10**400, -(10**400), [1], 1j)
    assert not any(map(is_finite_number, others))


def test_a_run_starts_in_years_that_all_libraries_can_count() -> None:
    assert utc("start_utc", "2021-06-01T02:00+02:00") == datetime(2021, 6, 1, tzinfo=UTC)
    for year in ("0001-01-01T00:00+14:00", "1899-12-31T23:59", "2201-01-01T00:00", "9999-12-31T23:59-12:00"):
        with pytest.raises(ConfigError, match="^start_utc: must be in the years 1900 to 2200"):
            utc("start_utc", year)


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


@pytest.mark.parametrize("value", [None, "text", 5, True, ["a"], [{}]])
@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("accounting.ranges", lambda value: Accounting(ranges=value)),
        ("fleet.devices", lambda value: Fleet.of("f", value)),
        ("fleet.devices.a.ranges", lambda value: Device("a", 1e9, 5, zone="FR", ranges=value)),
        ("fleet.devices.a.sources", lambda value: Device("a", 1e9, 5, zone="FR", sources=value)),
        ("fleet.links", lambda value: Fleet.of("f", {}, value or 0)),  # type: ignore[arg-type]
        ("fleet.links.lan.ranges", lambda value: Link("lan", 1e6, ranges=value)),
        ("fleet.links.lan.sources", lambda value: Link("lan", 1e6, sources=value)),
        ("grid.utc_offset_h", lambda value: Synthetic(utc_offset_h=value)),
        ("grid.zones", lambda value: Static(value)),
        ("grid.zones", lambda value: Synthetic(zones=value)),
        ("partitioner.limits", lambda value: Exact(limits=value)),
        ("scheduler.tenants", lambda value: Budget(tenants=value)),
        ("workload.classes", lambda value: Closed(classes=value)),
    ],
)
def test_what_must_be_a_mapping_is_one(key: str, make: Callable[[Any], object], value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: must map .* to .* \(it is "):
        make(value)


def test_a_mappings_keys_are_text() -> None:
    """YAML reads Norway, NO, as false."""
    with pytest.raises(ConfigError, match=r"^grid\.zones: the key False must be text, in quotes"):
        Static({False: 30})  # type: ignore[dict-item]


@pytest.mark.parametrize("value", [None, "text", 5, True, {"a": 1}])
@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("fleet.links.lan.between", lambda value: Link("lan", 1e6, between=value)),
        ("outages", lambda value: Outage.all(value, Fleet("f", (Device("a", 1e9, 5, zone="FR"),)))),
        ("partitioner.cuts", lambda value: Explicit(1, cuts=value)),
        ("partitioner.devices", lambda value: Explicit(1, devices=value)),
        ("partitioner.objectives", lambda value: Exact(objectives=value)),
    ],
)
def test_what_must_be_a_list_is_one(key: str, make: Callable[[Any], object], value: object) -> None:
    if value is not None or key != "fleet.links.lan.between":  # null: the link connects all devices
        with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: must be a list of .* \(it is "):
            make(value)


def test_an_outages_times_may_have_units() -> None:
    fleet = Fleet("f", (Device("a", 1e9, 5, zone="FR"),))
    assert Outage.all([{"device": "a", "at_s": "20 ms", "duration_s": "1 min"}], fleet) == (
        Outage("a", 0.02, 60.0),
    )
    with pytest.raises(
        ConfigError, match=r"^outages\.0\.at_s: must be a number in s or a text such as '5 ms'"
    ):
        Outage.all([{"device": "a", "at_s": "20 W"}], fleet)
