"""A meter that multiplies CPU time by a power model. Shell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import require_number


@dataclass(frozen=True)
class CpuTime(Sampled):
    """CPU seconds of this process and its children × a power model: on any host, as accurate as the model.

    Raises ConfigError naming a bad key.
    """

    core_w: float = 5.0
    """Power of one busy core, above idle."""
    idle_w: float = 0.0
    """Power of the idle host."""

    tier: ClassVar = "modelled"
    name: ClassVar = "cpu_time"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("meter", "core_w", self.core_w, least=0, above=True)
        require_number("meter", "idle_w", self.idle_w, least=0)

    def begin(self) -> Callable[[], float]:
        """Joules from CPU time. The CPU time of a process between its last sample and its end is lost."""
        import psutil

        own = psutil.Process()
        last: dict[int, float] = {}
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last, last_s
            now: dict[int, float] = {}
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    now[process.pid] = times.user + times.system
            # A new process started at 0. The first call, below, excludes CPU time from before the block.
            cpu_s = sum(seconds - last.get(pid, 0.0) for pid, seconds in now.items())
            now_s = time.perf_counter()
            joules = cpu_s * self.core_w + (now_s - last_s) * self.idle_w
            last, last_s = now, now_s
            return joules

        drawn_j()
        return drawn_j
