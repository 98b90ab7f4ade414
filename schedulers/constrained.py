"""Least carbon within the deadline: the greenest device that would still be done in time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.checks import require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.ranking import Ranking
from schedulers.able import busy_until_s, done_at_s, earliest, green_g, idle_s, is_able, nobody


@dataclass(frozen=True)
class Constrained:
    """The least carbon among the devices whose predicted completion meets the deadline; else the least late.

    A task must leave time for the stages after it, at their quickest. Without any deadline: least carbon.
    """

    slo_s: float | None = None
    """Seconds from arrival, for requests without a deadline of their own."""
    margin: float = 0.2
    """Share of the predicted time that is kept in hand: tasks ahead may take longer than predicted."""

    def __post_init__(self) -> None:
        require_number("scheduler", "margin", self.margin, least=0)
        if self.slo_s is not None:
            require_number("scheduler", "slo_s", self.slo_s, least=0, above=True)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; Wait for a device that is gone, or Refuse, where nobody is able."""
        deadline_s = task.deadline_s
        if deadline_s == math.inf and self.slo_s is not None:
            deadline_s = task.arrival_s + self.slo_s
        limit_s = deadline_s - state.work[task.stage].after_s
        limit_s = state.now_s + (limit_s - state.now_s) / (1 + self.margin)
        device = greenest_within(task, state, limit_s) or earliest(task, state)
        return Assign(device.name) if device else nobody(task, state)


class _ByCarbon:
    """A view: the devices in order of carbon, which of them are idle, and when the others would be done."""

    def __init__(self, task: Task, state: FleetState) -> None:
        self.changed: set[int] = set()
        self._devices, self._stage = state.in_order, task.stage
        # What a stage emits on a device changes with the intensity alone, and then a view is made anew.
        grams = [green_g(task, device, state) for device in state.in_order]
        self.order = sorted(range(len(grams)), key=lambda index: (grams[index], index))
        self._places = {index: place for place, index in enumerate(self.order)}
        self.idle = Ranking([idle_s(self._devices[index], self._stage) for index in self.order])
        self.busy = Ranking([busy_until_s(self._devices[index], self._stage) for index in self.order])

    def refreshed(self) -> _ByCarbon:
        """As of now."""
        for index in self.changed:
            device, place = self._devices[index], self._places[index]
            self.idle.set(place, idle_s(device, self._stage))
            self.busy.set(place, busy_until_s(device, self._stage))
        self.changed.clear()
        return self


def greenest_within(task: Task, state: FleetState, limit_s: float) -> DeviceState | None:
    """Where a task emits least of those that would be done by limit_s; None where nobody would."""
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
        found += _first(view, state.in_order, apart, task.stage, ready_s, limit_s)
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda device: (state.carbon_g(task, device), device.index))


def _first(
    view: _ByCarbon,
    devices: Sequence[DeviceState],
    apart: Sequence[DeviceState],
    stage: int,
    ready_s: float,
    limit_s: float,
) -> list[DeviceState]:
    """The first in order of carbon that would be done in time, if there is one."""
    best: int | None = None
    for ranking, within in ((view.idle, limit_s - ready_s), (view.busy, limit_s)):
        place = ranking.first_within(within)
        while place is not None and (best is None or place < best):
            device = devices[view.order[place]]
            # A busy device may be late itself, and then it is the input's coming that counts.
            if device not in apart and device.done_at_s(stage, ready_s) <= limit_s:
                best = place
                break
            place = ranking.first_within(within, place + 1)
    return [] if best is None else [devices[view.order[best]]]
