"""Each task to the device with the smallest backlog. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import first_able, none_able


@dataclass(frozen=True)
class LeastLoaded:
    """Least predicted seconds of all tasks in flight; of equal devices the first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        ranking = state.ranking(
            ("backlog", task.stage), lambda d: d.backlog_s if d.fits(task.stage) else math.inf
        )
        device = first_able(task, state, ranking)
        return Assign(device.name) if device else none_able(task, state)
