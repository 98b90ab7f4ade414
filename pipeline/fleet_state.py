"""The fleet as it stands at one moment of a run: what a scheduler sees and the backend updates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.domain import Device, Fleet, Task

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

    @property
    def value(self) -> float:
        """The mean now."""
        return self._sum / len(self._values)

    def add(self, value: float) -> None:
        """Take in a value; the oldest leaves once HISTORY are held."""
        if len(self._values) == HISTORY:
            self._sum -= self._values[0]
        self._values.append(value)
        self._sum += value


@dataclass
class DeviceState:
    """One device now: what runs on it, what is left of it, how long each stage takes there."""

    device: Device
    intensity_g_per_kwh: float
    fits: Callable[[int], bool]
    """Whether the device can hold a stage at all."""
    predict_s: Callable[[int], float]
    """Seconds the profile predicts for a stage."""
    in_flight: int = 0
    cpu_in_use: float = 0.0
    memory_in_use_bytes: float = 0.0
    _times: dict[int, RunningMean] = field(default_factory=dict)

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

    def mean_time_s(self, stage: int) -> float:
        """Mean execution time of a stage here, over its last HISTORY executions; see RunningMean."""
        return self._mean(stage).value

    def _mean(self, stage: int) -> RunningMean:
        if stage not in self._times:
            self._times[stage] = RunningMean(self.predict_s(stage))
        return self._times[stage]

    def begin(self, task: Task) -> None:
        """A task starts here."""
        self.in_flight += 1
        self.cpu_in_use += task.cpu_need
        self.memory_in_use_bytes += task.memory_need_bytes

    def end(self, task: Task, execution_s: float) -> None:
        """A task that began here has ended after so many seconds."""
        self.in_flight -= 1
        # Counts of equal needs must come back to an exact zero, which float subtraction does not promise.
        self.cpu_in_use = self.cpu_in_use - task.cpu_need if self.in_flight else 0.0
        self.memory_in_use_bytes = (
            self.memory_in_use_bytes - task.memory_need_bytes if self.in_flight else 0.0
        )
        self._mean(task.stage).add(execution_s)


@dataclass
class FleetState:
    """All devices now, in the fleet's order."""

    fleet: Fleet
    devices: Mapping[str, DeviceState]
    now_s: float = 0.0
    """Seconds from the run's start."""
    num_assigned: int = 0
    """Tasks that were given to a device so far."""

    def link_latency_s(self, task: Task, device: str) -> float | None:
        """Latency from where the task's input lies to the device; 0 on the spot, None if not connected."""
        if task.location is None or task.location == device:
            return 0.0
        link = self.fleet.link(task.location, device)
        return None if link is None else link.latency_s

    def begin(self, task: Task, device: str) -> None:
        """A task is given to a device."""
        self.num_assigned += 1
        self.devices[device].begin(task)

    def end(self, task: Task, device: str, execution_s: float) -> None:
        """A task has ended on a device."""
        self.devices[device].end(task, execution_s)
