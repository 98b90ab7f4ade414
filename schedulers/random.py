"""Each task to a random device: the baseline to beat. Pure: devices are drawn by hashing a seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.domain.checks import require_seed
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import is_able, none_able


@dataclass(frozen=True)
class Random:
    """Every able device is equally likely; the same seed, request and stage give the same device.

    Raises ConfigError if the seed is not a whole number >= 0.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        require_seed("scheduler", self.seed)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        able = [device.name for device in state.in_order if is_able(task, device, state)]
        if not able:
            return none_able(task, state)
        text = f"{self.seed} {task.request} {task.stage}".encode()
        return Assign(able[int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) % len(able)])
