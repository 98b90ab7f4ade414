"""CodeCarbon as a meter, and helpers for meters that use its readers. Shell."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.carbon.grids.installed_zones import installed_g_per_kwh
from pipeline.carbon.meters.reading import LEAST_INTERVAL_S, Reading, require_zone
from pipeline.domain.checks import require_number
from pipeline.domain.energy import J_PER_KWH

if TYPE_CHECKING:
    from codecarbon.core.units import Time


@dataclass(frozen=True)
class CodeCarbon:
    """CodeCarbon's offline tracker over the whole machine.

    Without RAPL it estimates TDP x (0.1 + 0.9 load^3) plus 20 W for memory. The reading's tier is `metered`
    or `estimated` accordingly. Raises ConfigError naming a bad key.
    """

    zone: str = "WORLD"
    """The grid zone of this host. WORLD, the world's average, is an assumption."""
    interval_s: float = 0.25

    def __post_init__(self) -> None:
        require_number("meter", "interval_s", self.interval_s, least=LEAST_INTERVAL_S)
        require_zone(self.zone)

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; empty if it was shorter than MIN_INTERVALS."""
        from codecarbon import OfflineEmissionsTracker

        silence_codecarbon()
        reading = Reading()
        with _without_settings():
            tracker = OfflineEmissionsTracker(
                country_iso_code="DEU",  # required, but unused: the intensity is set below
                force_carbon_intensity_g_co2e_kwh=installed_g_per_kwh("meter.zone", self.zone),
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
                     data.energy_consumed * J_PER_KWH, seconds, self.interval_s,
                     samples=math.floor(seconds / self.interval_s))  # fmt: skip


def silence_codecarbon() -> None:
    """Keep CodeCarbon's log off the terminal: its own `log_level` is set only after its first lines."""
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """CodeCarbon as it comes: a tracker made in the block reads no `.codecarbon.config` or `CODECARBON_*`.

    Such settings, as a PUE or a CPU's power, are of another experiment, and would change the reading.
    """
    from codecarbon import emissions_tracker

    names = vars(emissions_tracker)
    read = names["get_hierarchical_config"]
    names["get_hierarchical_config"] = dict
    try:
        yield
    finally:
        names["get_hierarchical_config"] = read


def joules_between(read_kwh: Callable[[Time], float]) -> Callable[[], float]:
    """A function that returns the joules since its last call, from a CodeCarbon reader of kWh over a time."""
    from codecarbon.core.units import Time

    last_s = time.perf_counter()

    def drawn_j() -> float:
        nonlocal last_s
        now_s = time.perf_counter()
        kwh = read_kwh(Time.from_seconds(max(now_s - last_s, 1e-6)))
        last_s = now_s
        return kwh * J_PER_KWH

    return drawn_j


def _has_rapl() -> bool:
    from codecarbon.core.cpu import is_rapl_available

    return bool(is_rapl_available())
