"""A number that cannot be meant is refused, by the unit in which its name ends."""

from __future__ import annotations

import math

import pytest

from pipeline.domain.checks import ConfigError, require_number


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
