"""Nobody but the plan decides: for plans of an optimiser that chose the devices as well. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Decision, Refuse, Task
from pipeline.execution.fleet_state import FleetState


@dataclass(frozen=True)
class Pinned:
    """A stage with a device of its own never asks a scheduler; one on auto is refused."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Refuse: the plan left this stage open."""
        stage = state.work[task.stage].stage
        return Refuse(f"stage {stage} is on auto, and scheduler=pinned wants a device in the plan")
