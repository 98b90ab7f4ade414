"""Each task to the next device in turn, whatever it costs: the baseline without a model of anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain import Assign, Decision, Refuse, Task
from pipeline.fleet_state import FleetState


@dataclass(frozen=True)
class RoundRobin:
    """Devices in the fleet's order; those that cannot hold the stage or are not connected are left out."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign task number n to able device n modulo their number; Refuse where there is none."""
        able = [
            name
            for name, device in state.devices.items()
            if device.fits(task.stage) and state.link_latency_s(task, name) is not None
        ]
        if not able:
            return Refuse("no device can hold the stage and be reached")
        return Assign(able[state.num_assigned % len(able)])
