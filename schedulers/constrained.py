"""Least carbon within the deadline: the greenest device that is predicted to finish in time. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.domain.checks import require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.ranking import Ranking
from schedulers.feasibility import busy_until_s, done_at_s, earliest, green_g, idle_s, none_able


@dataclass(frozen=True)
class Constrained:
    """The device of least carbon among those predicted to meet the deadline; else the earliest completion.

    A task must leave enough time for the later stages, each on its fastest device. Without a deadline: least
    carbon. Raises ConfigError naming the setting that is out of range.
    """

    slo_s: float | None = None
    """Deadline for requests without their own, in seconds from arrival."""
    margin: float = 0.2
    """Reserve as a share of the predicted time, since tasks in the queue may take longer than predicted."""

    def __post_init__(self) -> None:
        require_number("scheduler", "margin", self.margin, least=0)
        if self.slo_s is not None:
            require_number("scheduler", "slo_s", self.slo_s, least=0, above=True)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        deadline_s = task.deadline_s
        if deadline_s == math.inf and self.slo_s is not None:
            deadline_s = task.arrival_s + self.slo_s
        limit_s = deadline_s - state.work[task.stage].after_s
        limit_s = state.now_s + (limit_s - state.now_s) / (1 + self.margin)
        device = greenest_within(task, state, limit_s) or earliest(task, state)
        return Assign(device.name) if device else none_able(task, state)


class _ByCarbon:
    """A view of the devices in order of carbon, with the completion times of idle and of busy ones."""

    def __init__(self, task: Task, state: FleetState) -> None:
        self._stage = task.stage
        # A stage's carbon on a device changes only with the intensity, and the state then discards its views.
        self.devices = sorted(state.in_order, key=lambda d: (green_g(task, d, state), d.index))
        self._places = {device.index: place for place, device in enumerate(self.devices)}
        self.idle = Ranking([idle_s(device, self._stage) for device in self.devices])
        self.busy = Ranking([busy_until_s(device, self._stage) for device in self.devices])

    def update(self, changed: Iterable[int]) -> None:
        """Compute the completion times of these devices anew."""
        for index in changed:
            place = self._places[index]
            device = self.devices[place]
            self.idle.set(place, idle_s(device, self._stage))
            self.busy.set(place, busy_until_s(device, self._stage))


def greenest_within(task: Task, state: FleetState, limit_s: float) -> DeviceState | None:
    """The able device of least carbon among those predicted to finish by limit_s, or None."""
    if limit_s == math.inf:
        limit_s = sys.float_info.max  # a device that is not able finishes at infinity
    best, best_g = None, math.inf
    apart = state.apart(task.location)
    for device in apart:
        if done_at_s(task, device, state) <= limit_s:
            grams = state.carbon_g(task, device)
            if best is None or grams < best_g:
                best, best_g = device, grams
    other = _first(task, state, limit_s, apart)
    if best is None or other is None:
        return best or other
    other_g = state.carbon_g(task, other)
    return other if (other_g, other.index) < (best_g, best.index) else best


def _first(task: Task, state: FleetState, limit_s: float, apart: Sequence[DeviceState]) -> DeviceState | None:
    """The first device in order of carbon that the shared link reaches and that finishes by limit_s."""
    link = state.shared_link(task.location)
    if link is None and task.location is not None:
        return None
    ready_s = state.now_s + (link.transfer_s(task.input_bytes) if link else 0.0)
    key = ("by carbon", task.stage, task.location is None)
    view = state.view(key, lambda: _ByCarbon(task, state))
    best, first = math.inf, None
    for ranking, within in ((view.idle, limit_s - ready_s), (view.busy, limit_s)):
        place = ranking.first_within(within)
        while place is not None and place < best:
            device = view.devices[place]
            # The input may arrive after a busy device is free; the ranking does not consider that.
            if device not in apart and device.done_at_s(task.stage, ready_s) <= limit_s:
                best, first = place, device
                break
            place = ranking.first_within(within, place + 1)
    return first
