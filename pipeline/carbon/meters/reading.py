"""What a meter of this host tells, and what a meter must be able to do. Shell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.carbon.grids.installed_zones import installed_zones
from pipeline.domain.checks import require

MIN_INTERVALS = 10
"""A reading over fewer sampling intervals than this is refused, not printed."""


@dataclass
class Reading:
    """Filled in when the measured block ends; stays empty where the meter cannot tell."""

    metrics: dict[str, float] = field(default_factory=dict)
    method: str = "none"
    about: dict[str, Any] = field(default_factory=dict)
    """tier, interval_s, samples, seconds, resolution_j (the least that a sample told, above 0), idle_w: null
    where the meter cannot say."""

    def fill(
        self, name: str, tier: str, zone: str, joules: float, seconds: float, interval_s: float, *,
        samples: int, resolution_j: float | None = None, idle_w: float | None = None,
    ) -> None:  # fmt: skip
        """What the meter is and did; the figures of a block that was long enough, else why there are none."""
        self.about = {
            "tier": tier, "interval_s": interval_s, "samples": samples, "seconds": seconds,
            "resolution_j": resolution_j, "idle_w": idle_w,
        }  # fmt: skip
        if seconds < MIN_INTERVALS * interval_s:
            self.method = (
                f"refused: {name} over {seconds:.2f} s is fewer than {MIN_INTERVALS} intervals of "
                f"{interval_s:g} s; a run of {MIN_INTERVALS * interval_s:g} s would do"
            )
            return
        grams = joules / 3.6e6 * installed_zones()[zone]
        self.metrics = {"host_energy_j": joules, "host_carbon_g": grams}
        self.method = f"{name} ({tier})"


class Meter(Protocol):
    """Measures this host while a block runs."""

    def measure(self) -> AbstractContextManager[Reading]:
        """A context whose reading is complete when it ends. Raises ConfigError where the host has none."""
        ...


@dataclass(frozen=True)
class NoMeter:
    """Measures nothing."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """An empty reading."""
        yield Reading()


def require_zone(zone: str) -> None:
    """Require a zone whose annual average is installed."""
    require(
        zone in installed_zones(),
        f"meter.zone: unknown zone {zone!r} (for example DE, US-CA, SE3 or WORLD)",
    )
