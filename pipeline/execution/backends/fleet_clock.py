"""A scaled real-time clock that can be paused. Shell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class FleetClock:
    """Seconds since the run's start on the fleet's clock: real seconds ÷ scale, without pauses."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._origin = time.perf_counter()
        self._paused = 0.0

    def begin(self) -> None:
        """Set the run's start to now."""
        self._origin = time.perf_counter()

    def at(self, reading: float) -> float:
        """Seconds since the run's start at a reading of `time.perf_counter`."""
        return (reading - self._origin - self._paused) / self.scale

    def now(self) -> float:
        """Seconds since the run's start."""
        return self.at(time.perf_counter())

    def reading(self, at_s: float) -> float:
        """The reading of `time.perf_counter` at a time of this clock: the inverse of `at`."""
        return at_s * self.scale + self._origin + self._paused

    def skip(self, seconds: float) -> None:
        """Exclude that many real seconds, which have just passed, from the clock."""
        self._paused += seconds

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock while the block runs."""
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin
