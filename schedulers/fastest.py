"""Earliest completion first: each task to who would be done with it first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import earliest, nobody


@dataclass(frozen=True)
class Fastest:
    """The queue, the input's way and the device's own time count; carbon does not."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the device that is done first; Wait for one that is gone, or Refuse."""
        device = earliest(task, state)
        return Assign(device.name) if device else nobody(task, state)
