"""A meter of the energy counters of NVIDIA GPUs. Shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline.carbon.meters.code_carbon import joules_between, silence_codecarbon
from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import require

if TYPE_CHECKING:
    from codecarbon.core.units import Time


@dataclass(frozen=True)
class Nvml(Sampled):
    """Energy counters of all NVIDIA GPUs, through CodeCarbon's reader."""

    tier: ClassVar = "metered"
    name: ClassVar = "nvml"

    def begin(self) -> Callable[[], float]:
        """Joules of all GPUs. Raises ConfigError without a GPU that has an energy counter."""
        from codecarbon.core import gpu

        silence_codecarbon()
        require(
            gpu.is_gpu_details_available(),
            "meter: NVML finds no GPU with an energy counter; choose meter=cpu_time or codecarbon",
        )
        devices = gpu.AllGPUDevices()
        devices.start()

        def read_kwh(duration: Time) -> float:
            deltas = devices.get_delta(duration)
            return float(sum(delta["delta_energy_consumption"].kWh for delta in deltas))

        return joules_between(read_kwh)
