"""CodeCarbon as a meter. Shell."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.carbon.grids.installed_zones import installed_zones
from pipeline.carbon.meters.reading import Reading, require_zone
from pipeline.domain.checks import require_number


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
        require_zone(self.zone)

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
            seconds = time.perf_counter() - begin
            tracker.stop()
        data = tracker.final_emissions_data
        tier = "metered" if _has_rapl() else "estimated"
        reading.fill(f"codecarbon, whole machine, {data.cpu_model}", tier, self.zone,
                     data.energy_consumed * 3.6e6, seconds, self.interval_s,
                     samples=math.floor(seconds / self.interval_s))  # fmt: skip


def _has_rapl() -> bool:
    from codecarbon.core.cpu import is_rapl_available

    return bool(is_rapl_available())
