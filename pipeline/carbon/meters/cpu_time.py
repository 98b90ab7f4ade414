"""CPU time × a power model as a meter. Shell."""

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
    """CPU seconds of this process and its devices × a power model: everywhere, and as good as the model."""

    core_w: float = 5.0
    """What one busy core draws above idle."""
    idle_w: float = 0.0
    """What the host draws whatever it does."""

    tier: ClassVar = "modelled"
    name: ClassVar = "cpu_time"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("meter", "core_w", self.core_w, least=0, above=True)
        require_number("meter", "idle_w", self.idle_w, least=0)

    def begin(self) -> Callable[[], float]:
        """Of a process that ends in between, what it did since the last sample is lost."""
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
            # A process that is new began with nothing, and this one's earlier life is not of this block.
            cpu_s = sum(seconds - last.get(pid, 0.0) for pid, seconds in now.items())
            now_s = time.perf_counter()
            joules = cpu_s * self.core_w + (now_s - last_s) * self.idle_w
            last, last_s = now, now_s
            return joules

        drawn_j()
        return drawn_j
