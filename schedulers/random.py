"""Each task to any device: what a scheduler must beat. Pure: the chance is its seed's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.domain.checks import require_whole
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import is_able, nobody


@dataclass(frozen=True)
class Random:
    """Each able device is as likely; the same for the same seed, request and stage."""

    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("scheduler", "seed", self.seed)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to an able device; Wait for one that is gone, or Refuse."""
        able = [device.name for device in state.in_order if is_able(task, device, state)]
        if not able:
            return nobody(task, state)
        text = f"{self.seed} {task.request} {task.stage}".encode()
        return Assign(able[int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) % len(able)])
