"""Follows a schedule computed from all requests and intensities of the run in advance. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.checks import require_number
from pipeline.domain.tasks import Assign, Decision, Task, Wait
from pipeline.execution.deployment import deploy
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.hindsight.oracle import best_foreseen_schedule
from pipeline.execution.job import Job
from schedulers.constrained import Constrained
from schedulers.feasibility import is_able

Planned = Mapping[tuple[int, int], tuple[str, float, bool]]
"""Device, earliest start in seconds, and whether the task is late even then, by request and stage."""
ROUNDING_S = 1e-9
"""Tolerance in seconds, as a schedule may finish exactly at a deadline."""


@dataclass(frozen=True)
class Oracle:
    """As few late answers as possible, then the least carbon: a reference for what schedulers can achieve.

    For a few tasks it follows the best schedule, else one rounded from a linear program, which divides tasks
    and ignores random variation. `constrained` decides for a task that would be late on its planned device,
    unless it is late in the schedule too, and for one whose device is down; also for every task in a closed
    loop, whose arrivals are unknown, and without `foreseeing`. Raises ConfigError if the margin is not a
    number >= 0.
    """

    margin: float = 0.2
    """Reserve as a share of the predicted time, in the schedule and in `constrained`."""

    def __post_init__(self) -> None:
        require_number("scheduler", "margin", self.margin, least=0)

    def foreseeing(self, job: Job) -> Follower:
        """The scheduler that follows the schedule for this job."""
        if job.workload.concurrency is not None:
            return Follower(self.margin, {})
        work = deploy(job.services)
        tasks, schedule = best_foreseen_schedule(job, work, self.margin)
        names = list(job.fleet.by_name)
        keys = zip(tasks.request.tolist(), tasks.stage.tolist(), strict=True)
        chosen = zip(schedule.device.tolist(), schedule.begin_s.tolist(), strict=True)
        planned = {
            key: (names[device], begin_s, begin_s + work[key[1]].seconds[names[device]] > due_s)
            for key, (device, begin_s), due_s in zip(keys, chosen, tasks.due_s.tolist(), strict=True)
            if device >= 0
        }
        return Follower(self.margin, planned)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """The decision of `constrained`."""
        return Constrained(margin=self.margin).decide(task, state)


@dataclass(frozen=True, eq=False)
class Follower:
    """Follows a schedule; leaves tasks that cannot follow it to `constrained`."""

    margin: float
    planned: Planned

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the planned device, or Wait for the planned start; else the decision of `constrained`."""
        device, begin_s, late = self.planned.get((task.request, task.stage), ("", 0.0, False))
        if device and is_able(task, state.devices[device], state):
            transfer_s = state.transfer_s(task, device)
            begin_s -= transfer_s
            if begin_s > state.now_s:
                return Wait(begin_s)
            limit_s = task.deadline_s - state.work[task.stage].after_s
            limit_s = state.now_s + (limit_s - state.now_s) / (1 + self.margin)
            done_s = state.devices[device].done_at_s(task.stage, state.now_s, state.now_s + transfer_s)
            if late or done_s <= limit_s + ROUNDING_S:
                return Assign(device)
        return Constrained(margin=self.margin).decide(task, state)
