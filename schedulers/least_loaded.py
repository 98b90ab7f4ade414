"""Each task to who has least to do. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import first_able, nobody


@dataclass(frozen=True)
class LeastLoaded:
    """By the predicted seconds of all tasks in flight; of equals the first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the able device with the smallest backlog; Wait for one that is gone, or Refuse."""
        ranking = state.ranking(
            ("backlog", task.stage), lambda d: d.backlog_s if d.fits(task.stage) else math.inf
        )
        device = first_able(task, state, ranking)
        return Assign(device.name) if device else nobody(task, state)
