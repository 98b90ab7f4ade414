"""A meter that reads a board's own power monitor. Shell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import require


@dataclass(frozen=True)
class Ina(Sampled):
    """A power monitor (INA3221 or similar) of a Jetson board: voltage × current of one rail."""

    directory: str = "/sys/class/hwmon"
    rail: str = "VDD_IN"
    """The label of the rail: VDD_IN (POM_5V_IN on older boards) supplies the whole board."""

    tier: ClassVar = "metered"
    name: ClassVar = "ina"

    def begin(self) -> Callable[[], float]:
        """Joules between two samples of power: their mean × the time between them.

        Raises ConfigError if no monitor has the rail.
        """
        inputs = self._inputs()
        last_w, last_s = _watts(inputs), time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_w, last_s
            now_w, now_s = _watts(inputs), time.perf_counter()
            joules = 0.5 * (last_w + now_w) * (now_s - last_s)
            last_w, last_s = now_w, now_s
            return joules

        return drawn_j

    def _inputs(self) -> tuple[Path, Path]:
        """The files of millivolts and milliamperes (Linux, Documentation/hwmon/sysfs-interface)."""
        labels = sorted(Path(self.directory).glob("hwmon*/in*_label"))
        found = {path.read_text().strip(): path for path in labels}
        require(
            self.rail in found,
            f"meter.rail: no rail {self.rail!r} under {self.directory} (it has {', '.join(found) or 'none'})",
        )
        label = found[self.rail]
        number = label.name.removeprefix("in").removesuffix("_label")
        return label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")


def _watts(inputs: tuple[Path, Path]) -> float:
    millivolts, milliamperes = (float(path.read_text()) for path in inputs)
    return millivolts * milliamperes * 1e-6
