"""Stretch the wall time of a stage to its CPU time x a slowdown, one device of this host at a time. Shell.

Devices that compute at once would share this host's caches and memory bandwidth, and each would be slower
than alone. So they take turns, by a lock on a file; after its turn a device sleeps for the rest of its
stage's time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import torch

try:
    import fcntl
except ImportError:  # Windows has no such locks: devices that compute at once slow each other down there
    fcntl = None  # type: ignore[assignment]

Values = tuple[torch.Tensor, ...]
Compute = Callable[[], tuple[Values, float]]
"""Computes values and returns them with the CPU seconds taken."""
PROBE_ROOM = 2.0
"""A stage's remaining time ÷ the time of a probe, above which the stage makes a probe before it sleeps."""
COLD_BYTES = 2**24
"""Memory touched before each stage, so that all find equally cold caches: otherwise a stage right after
another was up to a tenth faster than one after an idle period."""


class Stretched(NamedTuple):
    """A stage that was run and stretched. Times are readings of time.perf_counter."""

    output: Values
    start: float
    end: float
    """Time at which the stage should have ended."""
    late_s: float
    """Seconds by which it ended later, because this host was busy with other work."""
    cpu_s: float
    drift: float
    """The drift by which the CPU time was divided."""
    probe_cpu_s: float | None
    """CPU seconds of the reference model, where the stage's time left room for a probe."""


class Stretcher:
    """Runs stages in turn with the other devices of this host; turns: the file whose lock is the turn."""

    def __init__(self, turns: IO[bytes]) -> None:
        self._turns = turns
        self._cold = torch.zeros(COLD_BYTES, dtype=torch.int8)

    def chill_caches(self) -> None:
        """Touch COLD_BYTES of memory."""
        self._cold.add_(1)

    def stretch(
        self,
        compute: Compute,
        probe: Callable[[], float],
        slowdown: float,
        *,
        dispatch_s: float,
        drift: float,
        not_before: float,
        reference_s: float,
        room: float,
    ) -> Stretched:
        """Compute, then sleep until the wall time is dispatch_s + CPU time ÷ drift * slowdown.

        The stage begins at `not_before`, a reading of time.perf_counter, even if it is called later: the
        delay of the call is then part of the sleep. drift: this host's time for the reference model ÷ when
        profiled, at the last probes. reference_s: that time when profiled. If more than room * reference_s is
        left and no other device has its turn, probe again and use the mean of both drifts; reference_s
        infinite: never probe.
        """
        sleep_until(not_before)
        start = not_before or time.perf_counter()
        with self.turn():
            self.chill_caches()
            output, cpu_s = compute()
        probe_cpu_s = None
        left_s = start + dispatch_s + cpu_s / drift * slowdown - time.perf_counter()
        if left_s > room * reference_s:
            with self.turn(wait=False) as is_mine:
                if is_mine:
                    probe_cpu_s = probe()
                    drift = (drift + probe_cpu_s / reference_s) / 2
        end = start + dispatch_s + cpu_s / drift * slowdown
        sleep_until(end)
        return Stretched(output, start, end, time.perf_counter() - end, cpu_s, drift, probe_cpu_s)

    @contextlib.contextmanager
    def turn(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the turn during the block; yields whether it is held: without `wait`, only if it was free."""
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(self._turns, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)


def timed(module: torch.fx.GraphModule, values: Values) -> tuple[Values, float]:
    """A module's output and its CPU seconds."""
    # thread_time excludes the thread that moves messages; with one torch thread it covers all computation.
    begin = time.thread_time()
    output = module.forward(*values)
    return output, time.thread_time() - begin


def sleep_until(moment: float) -> None:
    """Sleep until time.perf_counter reads `moment`."""
    remaining = moment - time.perf_counter()
    if remaining > 0:
        time.sleep(remaining)
