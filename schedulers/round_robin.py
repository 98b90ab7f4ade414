"""Each task to the next device in turn: the baseline without predictions. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import is_able, none_able


@dataclass(frozen=True)
class RoundRobin:
    """Task n goes to able device n, modulo the number of able devices, in the fleet's order."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        able = [device.name for device in state.in_order if is_able(task, device, state)]
        if not able:
            return none_able(task, state)
        return Assign(able[state.num_assigned % len(able)])
