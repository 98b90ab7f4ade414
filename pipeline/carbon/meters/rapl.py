"""Energy counters of the processor as a meter. Shell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import ConfigError, require


@dataclass(frozen=True)
class Rapl(Sampled):
    """Energy counters of the processor's packages, by CodeCarbon's reader, which knows wraps and mirrors."""

    directory: str = "/sys/class/powercap/intel-rapl/subsystem"

    tier: ClassVar = "metered"
    name: ClassVar = "rapl"

    def begin(self) -> Callable[[], float]:
        """Joules of all packages."""
        from codecarbon.core.cpu import IntelRAPL
        from codecarbon.core.units import Time

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        try:
            reader = IntelRAPL(rapl_dir=self.directory)  # type: ignore[no-untyped-call]
            reader.start()
        except Exception as error:
            raise ConfigError(
                f"meter: cannot read RAPL at {self.directory} ({error}); it needs an Intel or AMD processor "
                "and the right to read its counters, or choose meter=cpu_time"
            ) from error
        require(
            bool(reader._rapl_files),
            f"meter: no RAPL counter at {self.directory}; choose meter=cpu_time or codecarbon",
        )
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_s
            now_s = time.perf_counter()
            details = reader.get_cpu_details(Time.from_seconds(max(now_s - last_s, 1e-6)))
            last_s = now_s
            return float(sum(value for name, value in details.items() if "Energy" in name)) * 3.6e6

        return drawn_j
