"""Each task to the device on which it emits least, however long the queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import least_carbon, none_able


@dataclass(frozen=True)
class Greenest:
    """Least predicted energy × present intensity, transfer included; of equal devices the first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        device = least_carbon(task, state)
        return Assign(device.name) if device else none_able(task, state)
