"""Least carbon within the deadline: the greenest device that is predicted to finish in time. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.domain.checks import require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState, Near
from pipeline.execution.ranking import Ranking
from schedulers.feasibility import busy_until_s, earliest, green_g, idle_s, none_able, ready_at_s


@dataclass(frozen=True)
class Constrained:
    """The device of least carbon among those predicted to meet the deadline; else the earliest completion.

    A task must leave enough time for the later stages, each on its fastest device. Without a deadline: least
    carbon. Of devices of equal carbon an idle one is preferred, else the first. Raises ConfigError naming the
    setting that is out of range.
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
        grams = [green_g(task, device, state) for device in state.in_order]
        self.devices = sorted(state.in_order, key=lambda device: (grams[device.index], device.index))
        self.tier: list[int] = []
        """The first place of equal carbon, by place."""
        for place, device in enumerate(self.devices):
            same = place > 0 and grams[device.index] == grams[self.devices[place - 1].index]
            self.tier.append(self.tier[-1] if same else place)
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
    near, stage, now_s = state.near(task.location), task.stage, state.now_s
    found = [
        device
        for device, link in near.ways
        if device.up and device.done_at_s(stage, now_s, ready_at_s(task, state, link)) <= limit_s
    ]
    if near.has_others and (other := _first(task, state, limit_s, near)) is not None:
        found.append(other)
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda device: (state.carbon_g(task, device), device.in_flight > 0, device.index))


def _first(task: Task, state: FleetState, limit_s: float, near: Near) -> DeviceState | None:
    """The first device in order of carbon that is not near and that finishes by limit_s."""
    ready_s = ready_at_s(task, state, state.shared_link(task.location))
    key = ("by carbon", task.stage, task.location is None)
    view = state.view(key, lambda: _ByCarbon(task, state))
    end, first = len(view.devices), None
    for ranking, within in ((view.idle, limit_s - ready_s), (view.busy, limit_s)):
        place = ranking.first_within(within)
        while place is not None and place < end:
            device = view.devices[place]
            # The ranking does not consider a late task, nor an input that arrives after the device is free.
            if device not in near.devices and device.done_at_s(task.stage, state.now_s, ready_s) <= limit_s:
                end, first = view.tier[place], device  # a busy device must emit less than an idle one
                break
            place = ranking.first_within(within, place + 1)
    return first
