"""Each task to the next device in turn, whatever it costs: the baseline without a model of anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import is_able, nobody


@dataclass(frozen=True)
class RoundRobin:
    """Devices in the fleet's order; those that cannot hold the stage or are not connected are left out."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign task number n to able device n modulo their number; Refuse where there is none."""
        able = [device.name for device in state.in_order if is_able(task, device, state)]
        if not able:
            return nobody(task, state)
        return Assign(able[state.num_assigned % len(able)])
