"""Least carbon within the deadline: the greenest device that is predicted to finish in time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.checks import require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.ranking import Ranking
from schedulers.feasibility import busy_until_s, done_at_s, earliest, green_g, idle_s, is_able, none_able


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
        self.changed: set[int] = set()
        self._devices, self.stage = state.in_order, task.stage
        # A stage's carbon on a device changes only with the intensity, and the state then discards its views.
        grams = [green_g(task, device, state) for device in state.in_order]
        self.order = sorted(range(len(grams)), key=lambda index: (grams[index], index))
        self.tier: list[int] = []
        """The first place of equal carbon, by place."""
        for place, index in enumerate(self.order):
            same = place > 0 and grams[index] == grams[self.order[place - 1]]
            self.tier.append(self.tier[-1] if same else place)
        self._places = {index: place for place, index in enumerate(self.order)}
        self.idle = Ranking([idle_s(self._devices[index], self.stage) for index in self.order])
        self.busy = Ranking([busy_until_s(self._devices[index], self.stage) for index in self.order])

    def refreshed(self) -> _ByCarbon:
        """This view, updated for the devices that changed."""
        for index in self.changed:
            device, place = self._devices[index], self._places[index]
            self.idle.set(place, idle_s(device, self.stage))
            self.busy.set(place, busy_until_s(device, self.stage))
        self.changed.clear()
        return self


def greenest_within(task: Task, state: FleetState, limit_s: float) -> DeviceState | None:
    """The able device of least carbon among those predicted to finish by limit_s, or None."""
    apart = state.apart(task.location)
    found = [
        device
        for device in apart
        if is_able(task, device, state) and done_at_s(task, device, state) <= limit_s
    ]
    link = state.shared_link(task.location)
    if task.location is None or link is not None:
        ready_s = state.now_s + (link.transfer_s(task.input_bytes) if link else 0.0)
        key = ("by carbon", task.stage, task.location is None)
        view = state.view(key, lambda: _ByCarbon(task, state)).refreshed()
        found += _first(view, state, apart, ready_s, limit_s)
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda device: (state.carbon_g(task, device), device.in_flight > 0, device.index))


def _first(
    view: _ByCarbon, state: FleetState, apart: Sequence[DeviceState], ready_s: float, limit_s: float
) -> list[DeviceState]:
    """The first device in order of carbon that finishes by limit_s, as a list of one; empty if none does."""
    best: int | None = None
    end = len(view.order)
    for ranking, within in ((view.idle, limit_s - ready_s), (view.busy, limit_s)):
        place = ranking.first_within(within)
        while place is not None and place < end:
            device = state.in_order[view.order[place]]
            # The ranking does not consider a late task, nor an input that arrives after the device is free.
            if device not in apart and device.done_at_s(view.stage, state.now_s, ready_s) <= limit_s:
                best, end = place, view.tier[place]  # a busy device must emit less than an idle one
                break
            place = ranking.first_within(within, place + 1)
    return [] if best is None else [state.in_order[view.order[best]]]
