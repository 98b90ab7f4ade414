"""No scheduling: for plans that name a device for every stage, as those of optimisers do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.tasks import Decision, Refuse, Task
from pipeline.execution.fleet_state import FleetState


@dataclass(frozen=True)
class Pinned:
    """Stages with a device in the plan need no decision; stages on auto are refused."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Refuse: the plan names no device for this stage."""
        stage = state.work[task.stage].stage
        return Refuse(f"stage {stage} is on auto, and scheduler=pinned needs a plan with a device for it")
