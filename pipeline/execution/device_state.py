"""The state of one device at one moment of a run. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from pipeline.carbon.accounting import counted_idle_w
from pipeline.domain.energy import carbon_g, stage_energy_j
from pipeline.domain.fleet import Device
from pipeline.domain.tasks import Task

HISTORY = 100
"""Execution times kept per stage and device, as in AMP4EC's code."""
PROFILE_WEIGHT = 10
"""Number of executions with which the profiled time enters the mean."""


class RunningMean:
    """Mean of the last HISTORY values. Constant time per update.

    The profiled time fills the first PROFILE_WEIGHT values. Otherwise one slow task at the start could keep a
    scheduler from the device for good: without new tasks its mean never recovers.
    """

    def __init__(self, profiled: float) -> None:
        self._values = deque([profiled] * PROFILE_WEIGHT, maxlen=HISTORY)
        self._sum = profiled * PROFILE_WEIGHT

    def add(self, value: float) -> float:
        """Add a value and return the mean; beyond HISTORY values the oldest is dropped."""
        values = self._values
        if len(values) == HISTORY:
            self._sum -= values[0]
        values.append(value)
        self._sum += value
        return self._sum / len(values)


class DeviceState:
    """One device at present: its tasks, its free resources, and the time of each stage on it."""

    __slots__ = (
        "_grams",
        "_mean_s",
        "_predicted_s",
        "_queue",
        "_times",
        "backlog_s",
        "behind_s",
        "cpu_in_use",
        "device",
        "due_s",
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
        """Index in the fleet's order."""
        self.device = device
        self.name = device.name
        self.seconds = seconds
        """Predicted seconds by stage; None if the device does not hold the stage."""
        self._predicted_s = [math.inf if each is None else each for each in seconds]
        self.task_w = device.above_idle_w + counted_idle_w(device.idle_w, idle)[0]
        """Power that counts for a running task, by the accounting's rule for idle power."""
        self.in_flight = 0
        """Number of tasks that are assigned and have not ended, queued ones included."""
        self.cpu_in_use = 0.0
        self.memory_in_use_bytes = 0.0
        self.backlog_s = 0.0
        """Predicted seconds of all tasks in flight."""
        self.due_s = math.inf
        """Time at which the running task should end; infinite without one."""
        self.behind_s = 0.0
        """Predicted seconds from the end of the running task to that of the last in flight."""
        self._queue: deque[float] = deque()
        """Predicted seconds of each task in flight, in the order of their assignment."""
        self.up = True
        """Whether the device is up: no outage is in effect."""
        self._times: list[RunningMean | None] = [None] * len(seconds)
        self._mean_s = self._predicted_s.copy()
        self.set_intensity(intensity_g_per_kwh)

    def set_intensity(self, g_per_kwh: float) -> None:
        """Set the carbon intensity of the device's electricity."""
        self.intensity_g_per_kwh = g_per_kwh
        self._grams = [
            carbon_g(stage_energy_j(seconds, self.task_w), g_per_kwh, self.device.pue)
            for seconds in self._predicted_s
        ]

    @property
    def load(self) -> float:
        """CPU need of the tasks in flight ÷ quota: 0 when idle, above 1 when overcommitted."""
        return self.cpu_in_use / self.device.cpu_quota

    @property
    def cpu_free(self) -> float:
        """CPUs of the quota that the tasks in flight do not need."""
        return self.device.cpu_quota - self.cpu_in_use

    @property
    def memory_free_bytes(self) -> float:
        """Memory that the tasks in flight do not need."""
        return self.device.memory_bytes - self.memory_in_use_bytes

    def fits(self, stage: int) -> bool:
        """Whether the device is up and holds a stage."""
        return self.up and self.seconds[stage] is not None

    def mean_time_s(self, stage: int) -> float:
        """Mean execution time of a stage over its last HISTORY executions here; see RunningMean."""
        return self._mean_s[stage]

    def carbon_g(self, stage: int) -> float:
        """Predicted grams of a stage here at the present intensity, without transfers (Eq. 2)."""
        return self._grams[stage]

    def free_at_s(self, now_s: float) -> float:
        """Predicted end of all tasks in flight; the present on an idle device.

        A running task that is late is expected to take as long again as it is late already: how far it is
        from its end cannot be known, but the later it is, the less its prediction says.
        """
        if not self.in_flight:
            return now_s
        late_s = now_s - self.due_s
        return self.due_s + self.behind_s + (2 * late_s if late_s > 0 else 0.0)

    def done_at_s(self, stage: int, now_s: float, ready_s: float) -> float:
        """Predicted end of a stage whose input arrives here at `ready_s`, now or later."""
        if self.in_flight and (free_s := self.free_at_s(now_s)) > ready_s:
            ready_s = free_s
        return ready_s + self._predicted_s[stage]

    def predicted_s(self, stage: int) -> float:
        """Predicted seconds of a stage; infinite if the device does not hold it."""
        return self._predicted_s[stage]

    def begin(self, task: Task, now_s: float, ready_s: float) -> None:
        """Add a task that is assigned to the device, and whose input arrives here at `ready_s`."""
        seconds = self._predicted_s[task.stage]
        if self.in_flight:
            self.behind_s += seconds + max(0.0, ready_s - self.free_at_s(now_s))
        else:
            self.due_s, self.behind_s = ready_s + seconds, 0.0
        self._queue.append(seconds)
        self.in_flight += 1
        self.cpu_in_use += task.cpu_need
        self.memory_in_use_bytes += task.memory_need_bytes
        self.backlog_s += seconds

    def end(self, task: Task, now_s: float, execution_s: float | None) -> None:
        """Remove a task that has ended; execution_s: None if an outage ended it."""
        self.in_flight -= 1
        seconds = self.predicted_s(task.stage)
        self._queue.remove(seconds)
        if self.in_flight:
            self.cpu_in_use -= task.cpu_need
            self.memory_in_use_bytes -= task.memory_need_bytes
            self.backlog_s -= seconds
            self.due_s, self.behind_s = now_s + self._queue[0], self.backlog_s - self._queue[0]
        else:  # an idle device is exactly empty, which float subtraction does not guarantee
            self.cpu_in_use = self.memory_in_use_bytes = self.backlog_s = self.behind_s = 0.0
            self.due_s = math.inf
        if execution_s is not None:
            mean = self._times[task.stage]
            if mean is None:
                mean = self._times[task.stage] = RunningMean(self.predicted_s(task.stage))
            self._mean_s[task.stage] = mean.add(execution_s)
