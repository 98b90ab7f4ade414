"""Follows a schedule made with all requests and intensities of the run known beforehand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain import Assign, Decision, Task, Wait, require_number
from pipeline.fleet_state import FleetState
from pipeline.oracle import foresight
from schedulers.able import done_at_s, is_able
from schedulers.constrained import Constrained

Planned = Mapping[tuple[int, int], tuple[str, float, bool]]
"""By request and stage: the device, not before when, and whether it will be late even so."""
ROUNDING_S = 1e-9
"""A schedule may be done at the very deadline."""


@dataclass(frozen=True)
class Oracle:
    """As few late answers as can be, then the least carbon: what nobody can do who does not know the future.

    For a few tasks the best schedule, else the linear program's (`pipeline.oracle`), which divides tasks and
    knows nothing of chance: so a task that would be late where it was to go, or whose device is gone, goes
    where `constrained` would send it. In a closed loop, whose arrivals nobody knows, that is all there is.
    """

    margin: float = 0.2
    """Share of the predicted time by which tasks are taken to be longer, and which is kept in hand."""

    def __post_init__(self) -> None:
        require_number("scheduler", "margin", self.margin, least=0)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; Wait for the task's time to come."""
        planned = state.kept(self, lambda: self._planned(state))
        device, begin_s, late = planned.get((task.request, task.stage), ("", 0.0, False))
        if device and is_able(task, state.devices[device], state):
            begin_s -= state.transfer_s(task, device)
            if begin_s > state.now_s:
                return Wait(begin_s)
            limit_s = task.deadline_s - state.work[task.stage].after_s
            limit_s = state.now_s + (limit_s - state.now_s) / (1 + self.margin)
            if late or done_at_s(task, state.devices[device], state) <= limit_s + ROUNDING_S:
                return Assign(device)
        return Constrained(margin=self.margin).decide(task, state)

    def _planned(self, state: FleetState) -> Planned:
        if state.job is None or state.job.workload.concurrency is not None:
            return {}
        tasks, schedule = foresight(state.job, state.work, self.margin)
        names = [device.name for device in state.in_order]
        keys = zip(tasks.request.tolist(), tasks.stage.tolist(), strict=True)
        chosen = zip(schedule.device.tolist(), schedule.begin_s.tolist(), strict=True)
        return {
            key: (names[device], begin_s, begin_s + state.in_order[device].predicted_s(key[1]) > due_s)
            for key, (device, begin_s), due_s in zip(keys, chosen, tasks.due_s.tolist(), strict=True)
            if device >= 0
        }
