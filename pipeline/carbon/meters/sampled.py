"""The base of meters that are sampled in a thread while a block runs. Shell."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from pipeline.carbon.meters.reading import LEAST_INTERVAL_S, Reading, require_zone
from pipeline.domain.checks import ConfigError, require_number


@dataclass(frozen=True)
class Sampled(ABC):
    """A meter that is sampled every `interval_s` in a block. Raises ConfigError naming a bad key."""

    zone: str = "WORLD"
    """The grid zone of this host. WORLD, the world's average, is an assumption."""
    interval_s: float = 0.25
    baseline_s: float = 0.0
    """Seconds for which the idle host is measured beforehand, once per process; 0: not at all."""

    tier: ClassVar[str]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        require_number("meter", "interval_s", self.interval_s, least=LEAST_INTERVAL_S)
        require_number("meter", "baseline_s", self.baseline_s, least=0)
        require_zone(self.zone)

    @abstractmethod
    def begin(self) -> Callable[[], float]:
        """Start the sensor. Returns a function that returns the joules since its last call.

        Raises ConfigError where this host lacks the sensor.
        """

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; empty if it was shorter than MIN_INTERVALS."""
        idle_w = _baseline_w(self) if self.baseline_s else None
        reading = Reading()
        sampler = _Sampler(self.begin(), self.interval_s)
        try:
            yield reading
        finally:
            joules, seconds = sampler.stop()
        smallest_j = min((each for each in joules if each > 0), default=None)
        reading.fill(self.name, self.tier, self.zone, sum(joules), seconds, self.interval_s,
                     samples=len(joules), resolution_j=smallest_j, idle_w=idle_w)  # fmt: skip


class _Sampler:
    """Calls a reader every `interval_s` in a thread."""

    def __init__(self, drawn_j: Callable[[], float], interval_s: float) -> None:
        self._drawn_j, self._interval_s = drawn_j, interval_s
        self._joules: list[float] = []
        self._end = threading.Event()
        self._error: Exception | None = None
        self._begin = time.perf_counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._end.wait(self._interval_s):
                self._joules.append(self._drawn_j())
        except Exception as error:
            self._error = error

    def stop(self) -> tuple[list[float], float]:
        """The joules of each sample, the last one taken now, and the seconds since the start.

        Raises ConfigError if reading the sensor failed.
        """
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise ConfigError(f"meter: reading the sensor failed ({self._error})") from self._error
        self._joules.append(self._drawn_j())
        return self._joules, time.perf_counter() - self._begin


@functools.cache
def _baseline_w(meter: Sampled) -> float:
    """Power of the idle host, as measured by this meter."""
    sampler = _Sampler(meter.begin(), meter.interval_s)
    time.sleep(meter.baseline_s)
    joules, seconds = sampler.stop()
    return sum(joules) / seconds
