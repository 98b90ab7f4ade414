"""Each task to where it emits least, however long the queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import least_carbon, nobody


@dataclass(frozen=True)
class Greenest:
    """Present intensity × predicted energy, the transfer's included; of equals the first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the able device of least carbon; Wait for one that is gone, or Refuse."""
        device = least_carbon(task, state)
        return Assign(device.name) if device else nobody(task, state)
