"""The protocol of a meter, and the reading that it fills in. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.carbon.grids.installed_zones import installed_g_per_kwh
from pipeline.domain.checks import LARGEST, first_line
from pipeline.domain.energy import carbon_g

LEAST_INTERVAL_S = 1e-3
"""Shortest sampling interval: below it a meter would measure little but itself."""
MIN_INTERVALS = 10
"""A reading over fewer sampling intervals than this is rejected."""


@dataclass
class Reading:
    """A meter's result, filled in when the measured block ends; without metrics where it cannot measure."""

    metrics: dict[str, float] = field(default_factory=dict)
    """host_energy_j and host_carbon_g."""
    method: str = "none"
    """The meter and its tier, or why there are no metrics."""
    problem: str = ""
    """Why a meter that was there failed: for a person to mend."""
    about: dict[str, Any] = field(default_factory=dict)
    """tier, interval_s, samples, seconds, resolution_j (the smallest sample above 0), idle_w; None where the
    meter does not have it."""

    def fill(
        self, name: str, tier: str, zone: str, joules: float, seconds: float, interval_s: float, *,
        samples: int, resolution_j: float | None = None, idle_w: float | None = None,
    ) -> None:  # fmt: skip
        """Record the joules of a block of that many seconds.

        Reject a block of fewer than MIN_INTERVALS, and a mean power that cannot be.
        """
        self.about = {
            "tier": tier, "interval_s": interval_s, "samples": samples, "seconds": seconds,
            "resolution_j": resolution_j, "idle_w": idle_w,
        }  # fmt: skip
        if seconds < MIN_INTERVALS * interval_s:
            self.method = (
                f"refused: {name} over {seconds:.2f} s is fewer than {MIN_INTERVALS} intervals of "
                f"{interval_s:g} s; it needs a run of {MIN_INTERVALS * interval_s:g} s"
            )
            return
        if not 0 <= joules <= LARGEST["_w"] * seconds:
            self.method = f"refused: {name} read {joules:g} J in {seconds:.2f} s, which cannot be"
            return
        grams = carbon_g(joules, installed_g_per_kwh("meter.zone", zone), 1.0)
        self.metrics = {"host_energy_j": joules, "host_carbon_g": grams}
        self.method = f"{name} ({tier})"

    def refuse(self, reason: str) -> None:
        """Leave the reading without metrics, and say why."""
        self.metrics, self.method, self.problem = {}, f"refused: {reason}", reason


class Meter(Protocol):
    """Measures the energy of this host while a block runs."""

    def measure(self) -> AbstractContextManager[Reading]:
        """A context whose reading is complete when it ends. Raises ConfigError if the sensor is missing."""
        ...


@dataclass(frozen=True)
class NoMeter:
    """Measures nothing."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """An empty reading."""
        yield Reading()


@contextlib.contextmanager
def metered(meter: Meter) -> Iterator[Reading]:
    """The meter's reading of the block, refused where the meter fails after it: its results are kept.

    Raises what the meter raises before the block, and what the block raises.
    """
    context = meter.measure()
    reading = context.__enter__()
    try:
        yield reading
    except BaseException as error:
        with contextlib.suppress(Exception):
            context.__exit__(type(error), error, error.__traceback__)
        raise
    try:
        context.__exit__(None, None, None)
    except Exception as error:  # each sensor's library has its own
        reading.refuse(first_line(error))


def require_zone(zone: str) -> None:
    """Raise ConfigError unless an annual average of the zone is installed."""
    installed_g_per_kwh("meter.zone", zone)
