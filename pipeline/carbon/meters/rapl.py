"""A meter of the energy counters of the processor. Shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline.carbon.meters.code_carbon import joules_between, silence_codecarbon
from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import ConfigError, require

if TYPE_CHECKING:
    from codecarbon.core.units import Time


@dataclass(frozen=True)
class Rapl(Sampled):
    """Energy counters of all processor packages; CodeCarbon's reader handles overflows and mirrors."""

    directory: str = "/sys/class/powercap/intel-rapl/subsystem"

    tier: ClassVar = "metered"
    name: ClassVar = "rapl"

    def begin(self) -> Callable[[], float]:
        """Joules of all packages. Raises ConfigError without a readable counter."""
        from codecarbon.core.cpu import IntelRAPL

        silence_codecarbon()
        try:
            reader = IntelRAPL(rapl_dir=self.directory)  # type: ignore[no-untyped-call]
            reader.start()
        except Exception as error:
            raise ConfigError(
                f"meter: cannot read RAPL at {self.directory} ({error}); it needs an Intel or AMD processor "
                "and permission to read its counters; or choose meter=cpu_time"
            ) from error
        require(
            bool(reader._rapl_files),
            f"meter: no RAPL counter at {self.directory}; choose meter=cpu_time or codecarbon",
        )

        def read_kwh(duration: Time) -> float:
            details = reader.get_cpu_details(duration)
            return float(sum(value for name, value in details.items() if "Energy" in name))

        return joules_between(read_kwh)
