"""Energy counters of NVIDIA GPUs as a meter. Shell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import require


@dataclass(frozen=True)
class Nvml(Sampled):
    """Energy counters of NVIDIA GPUs, read by CodeCarbon's reader."""

    tier: ClassVar = "metered"
    name: ClassVar = "nvml"

    def begin(self) -> Callable[[], float]:
        """Joules of all GPUs."""
        from codecarbon.core import gpu
        from codecarbon.core.units import Time

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        require(
            gpu.is_gpu_details_available(),
            "meter: no GPU whose energy NVML could tell; choose meter=cpu_time or codecarbon",
        )
        devices = gpu.AllGPUDevices()
        devices.start()
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_s
            now_s = time.perf_counter()
            deltas = devices.get_delta(Time.from_seconds(max(now_s - last_s, 1e-6)))
            last_s = now_s
            return float(sum(delta["delta_energy_consumption"].kWh for delta in deltas)) * 3.6e6

        return drawn_j
