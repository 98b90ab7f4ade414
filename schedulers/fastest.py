"""Each task to the device with the earliest predicted completion. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import earliest, none_able


@dataclass(frozen=True)
class Fastest:
    """Completion includes the input's transfer, the device's queue and the stage's time; ignores carbon."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        device = earliest(task, state)
        return Assign(device.name) if device else none_able(task, state)
