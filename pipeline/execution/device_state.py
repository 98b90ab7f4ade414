"""One device at one moment of a run. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from pipeline.domain.energy import carbon_g, counted_idle_w
from pipeline.domain.fleet import Device
from pipeline.domain.tasks import Task

HISTORY = 100
"""Execution times kept per stage and device, as AMP4EC's code does."""
PROFILE_WEIGHT = 10
"""Executions that the profile counts for."""


class RunningMean:
    """Mean of the last HISTORY values. Constant time per update.

    The profile's value stands for the first PROFILE_WEIGHT of them, so that a single slow task at the start
    does not drive all others away for good: a device that gets no task never shows that it has recovered.
    """

    def __init__(self, profiled: float) -> None:
        self._values = deque([profiled] * PROFILE_WEIGHT, maxlen=HISTORY)
        self._sum = profiled * PROFILE_WEIGHT
        self.value = profiled
        """The mean now."""

    def add(self, value: float) -> None:
        """Take in a value; the oldest leaves once HISTORY are held."""
        if len(self._values) == HISTORY:
            self._sum -= self._values[0]
        self._values.append(value)
        self._sum += value
        self.value = self._sum / len(self._values)


class DeviceState:
    """One device now: what runs on it, what is left of it, how long each stage takes there."""

    __slots__ = (
        "_times",
        "backlog_s",
        "cpu_in_use",
        "device",
        "free_at_s",
        "in_flight",
        "index",
        "intensity_g_per_kwh",
        "memory_in_use_bytes",
        "name",
        "seconds",
        "task_w",
        "up",
    )

    def __init__(
        self,
        index: int,
        device: Device,
        intensity_g_per_kwh: float,
        seconds: Sequence[float | None],
        idle: str,
    ) -> None:
        self.index = index
        """Its place in the fleet's order."""
        self.device = device
        self.name = device.name
        self.intensity_g_per_kwh = intensity_g_per_kwh
        self.seconds = seconds
        """What each stage is predicted to take here; None where this device does not hold it."""
        self.task_w = device.above_idle_w + counted_idle_w(device.idle_w, idle)[0]
        """Power that a task adds to what the device draws anyway, as the accounting counts it."""
        self.in_flight = 0
        """Tasks given to it and not ended, the waiting ones included."""
        self.cpu_in_use = 0.0
        self.memory_in_use_bytes = 0.0
        self.backlog_s = 0.0
        """Predicted seconds of all tasks in flight."""
        self.free_at_s = 0.0
        """When it will have done them, as predicted when one was last given or ended."""
        self.up = True
        """Whether it can be given tasks at all."""
        self._times: list[RunningMean | None] = [None] * len(seconds)

    @property
    def load(self) -> float:
        """CPU needed by the tasks in flight ÷ quota (0 when idle, may pass 1)."""
        return self.cpu_in_use / self.device.cpu_quota

    @property
    def cpu_free(self) -> float:
        """CPUs of the quota that no task in flight needs."""
        return self.device.cpu_quota - self.cpu_in_use

    @property
    def memory_free_bytes(self) -> float:
        """Memory that no task in flight needs."""
        return self.device.memory_bytes - self.memory_in_use_bytes

    def fits(self, stage: int) -> bool:
        """Whether it holds a stage, and is there."""
        return self.up and self.seconds[stage] is not None

    def mean_time_s(self, stage: int) -> float:
        """Mean execution time of a stage here, over its last HISTORY executions; see RunningMean."""
        mean = self._times[stage]
        return self.predicted_s(stage) if mean is None else mean.value

    def carbon_g(self, stage: int) -> float:
        """What a stage adds to the run's carbon here and now, as predicted; transfers left out (Eq. 2)."""
        return carbon_g(self.task_w * self.predicted_s(stage), self.intensity_g_per_kwh, self.device.pue)

    def done_at_s(self, stage: int, ready_s: float) -> float:
        """When a stage would be done here if its input were here at that time."""
        return max(ready_s, self.free_at_s) + self.predicted_s(stage)

    def predicted_s(self, stage: int) -> float:
        """What a stage takes here; infinite where this device does not hold it."""
        seconds = self.seconds[stage]
        return math.inf if seconds is None else seconds

    def begin(self, task: Task, now_s: float) -> None:
        """A task is given to it."""
        seconds = self.predicted_s(task.stage)
        self.in_flight += 1
        self.cpu_in_use += task.cpu_need
        self.memory_in_use_bytes += task.memory_need_bytes
        self.backlog_s += seconds
        self.free_at_s = (self.free_at_s if self.free_at_s > now_s else now_s) + seconds

    def end(self, task: Task, now_s: float, execution_s: float | None) -> None:
        """A task that began here has ended, after so many seconds; None where it was taken away again."""
        self.in_flight -= 1
        if self.in_flight:
            self.cpu_in_use -= task.cpu_need
            self.memory_in_use_bytes -= task.memory_need_bytes
            self.backlog_s -= self.predicted_s(task.stage)
        else:  # counts must come back to an exact zero, which float subtraction does not promise
            self.cpu_in_use = self.memory_in_use_bytes = self.backlog_s = 0.0
        self.free_at_s = now_s + self.backlog_s
        if execution_s is not None:
            mean = self._times[task.stage]
            if mean is None:
                mean = self._times[task.stage] = RunningMean(self.predicted_s(task.stage))
            mean.add(execution_s)
