"""What running the experiment itself cost here: this host's energy by CodeCarbon, kept out of the ledger."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain import require, require_number
from pipeline.grid import installed_zones

MIN_INTERVALS = 3
"""A reading over fewer sampling intervals than this is refused, not printed."""


@dataclass
class Reading:
    """Filled in when the measured block ends; stays empty where the meter cannot tell."""

    metrics: dict[str, float] = field(default_factory=dict)
    method: str = "none"


class Meter(Protocol):
    """Measures this host while a block runs."""

    def measure(self) -> AbstractContextManager[Reading]:
        """A context whose reading is complete when it ends."""
        ...


@dataclass(frozen=True)
class NoMeter:
    """Measures nothing."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """An empty reading."""
        yield Reading()


@dataclass(frozen=True)
class CodeCarbon:
    """CodeCarbon's offline tracker over the whole machine.

    Without RAPL it estimates: TDP x (0.1 + 0.9 load^3) and 20 W of memory; the reading's `method` says which.
    """

    zone: str = "WORLD"
    """Where this host draws its power. WORLD, the world's average, is an assumption until you say."""
    interval_s: float = 0.25

    def __post_init__(self) -> None:
        require_number("meter", "interval_s", self.interval_s, least=0, above=True)
        require(
            self.zone in installed_zones(),
            f"meter.zone: unknown zone {self.zone!r} (for example DE, US-CA, SE3 or WORLD)",
        )

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; empty if it was shorter than MIN_INTERVALS."""
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(
            logging.CRITICAL
        )  # its own setting comes after its first lines
        reading = Reading()
        tracker = OfflineEmissionsTracker(
            country_iso_code="DEU",  # asked for, but not used: the intensity is ours
            force_carbon_intensity_g_co2e_kwh=installed_zones()[self.zone],
            measure_power_secs=self.interval_s,
            tracking_mode="machine",
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="critical",
        )
        tracker.start()
        begin = time.perf_counter()
        try:
            yield reading
        finally:
            long_enough = time.perf_counter() - begin >= MIN_INTERVALS * self.interval_s
            tracker.stop()
        if long_enough:
            data = tracker.final_emissions_data
            reading.metrics = {
                "host_energy_j": data.energy_consumed * 3.6e6,
                "host_carbon_g": data.emissions * 1e3,
            }
            reading.method = f"codecarbon, whole machine, {data.cpu_model}"
