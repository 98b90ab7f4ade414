"""The state of the fleet at one moment of a run: schedulers read it, the backend updates it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from pipeline.carbon.intensity import FORESIGHT_S, Intensity
from pipeline.domain.energy import LINK_PUE, carbon_g
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.ranking import Ranking
from pipeline.execution.reservations import Reservations

AHEAD_S = 3600.0
"""How far the state sees ahead by itself: the grid is asked for the intensities before they are in force."""

FEW = 8
"""Most devices of a fleet in which schedulers look at each: to keep so few ranked would take longer."""
FORGET_AFTER = 100
"""Changes per device after which all views are updated."""


class View(Protocol):
    """Figures about all devices, computed once for a scheduler and updated as devices change."""

    def update(self, changed: Iterable[int]) -> None:
        """Compute the figures of devices anew; changed: their indices."""
        ...


_View = TypeVar("_View", bound=View)


class Near(NamedTuple):
    """The devices that a scheduler must look at one by one for a task whose input is at a location.

    They are those that the shared link does not connect to it: the location itself and the devices that have
    their own link to it. In a fleet of at most FEW devices they are all that the input can reach.
    """

    ways: tuple[tuple[DeviceState, Link | None], ...]
    """Each device in the fleet's order, with the link to it; None: the input is there."""
    devices: tuple[DeviceState, ...]
    has_others: bool
    """Whether the input can also reach other devices, by the shared link or as it is everywhere."""


class Ranked:
    """A view that ranks devices by a key of their state; an infinite key excludes a device."""

    def __init__(self, devices: Sequence[DeviceState], key: Callable[[DeviceState], float]) -> None:
        self._devices = devices
        self._key = key
        self.ranking = Ranking([key(device) for device in devices])
        """The current order; places are indices of devices."""

    def update(self, changed: Iterable[int]) -> None:
        """Rank these devices anew."""
        for index in changed:
            self.ranking.set(index, self._key(self._devices[index]))


class FleetState:
    """All devices at the present moment, in the fleet's order."""

    def __init__(
        self, fleet: Fleet, work: Sequence[StageDeployment], intensity: Intensity, idle: str = "full"
    ) -> None:
        self.fleet = fleet
        self.work = work
        """The deployed stages; a task's `stage` is an index into them."""
        self.intensity = intensity
        """Intensity up to some later time (`foresee`); values after `now_s` are a perfect forecast
        (`carbon.forecast`)."""
        now = intensity.at(0.0)
        self.in_order = [
            DeviceState(
                index, device, now[device.name], [stage.seconds.get(device.name) for stage in work], idle
            )
            for index, device in enumerate(fleet.devices)
        ]
        self.devices = {device.name: device for device in self.in_order}
        self.now_s = 0.0
        """Seconds from the run's start."""
        self.num_assigned = 0
        """Number of tasks assigned so far."""
        self.spent_g: dict[str, float] = {}
        """Predicted grams of each tenant's tasks in the current hour of the run."""
        self.reservations = Reservations()
        """The times for which a scheduler has reserved devices."""
        self._views: dict[Hashable, tuple[Any, int]] = {}
        """With the number of entries of `_changes` that each view has taken in."""
        self._changes: list[int] = []
        """Index of the device of each change, in order."""
        self._most_changes = FORGET_AFTER * len(fleet.devices)
        self._near: dict[str | None, Near] = {}
        self._hour = 0
        self._look_s = self._change_s = 0.0
        """Time at which the intensities may next change, and that or the next full hour."""
        self._change()

    def advance(self, now_s: float) -> None:
        """Advance the clock, and with it the intensities and the hour of the budgets."""
        self.now_s = now_s
        if now_s >= self._change_s:
            self._change()

    def _change(self) -> None:
        if self.now_s >= self._look_s:
            self._look()
        if self.now_s >= 3600 * (self._hour + 1):
            self._hour = int(self.now_s // 3600)
            self.spent_g.clear()
        self._change_s = min(self._look_s, 3600.0 * (self._hour + 1))

    def foresee(self, until_s: float) -> None:
        """Extend `intensity` up to a time, at most FORESIGHT_S from now, where the grid's data reach it."""
        known = self.intensity
        self.intensity = known.until(min(until_s, self.now_s + FORESIGHT_S))
        if len(self.intensity.since_s) > len(known.since_s):
            self._forget_views()

    def _look(self) -> None:
        """Update the intensities in force, and the time at which they may next change."""
        self.foresee(self.now_s + AHEAD_S)
        for device, value in zip(self.in_order, self.intensity.at(self.now_s).values(), strict=True):
            device.set_intensity(value)
        self._forget_views()
        holds_s = self.intensity.holds_until_s(self.now_s)
        self._look_s = holds_s if holds_s > self.now_s else self.now_s + AHEAD_S

    def _forget_views(self) -> None:
        self._views.clear()
        self._changes.clear()

    def near(self, location: str | None) -> Near:
        """The devices to look at one by one for a task whose input is at a location."""
        known = self._near.get(location)
        if known is None:
            known = self._near[location] = self._find_near(location)
        return known

    def _find_near(self, location: str | None) -> Near:
        if len(self.in_order) <= FEW:
            ends = set(self.devices)
        else:
            ends = set() if location is None else {location, *self.fleet.linked(location)}
        here = [device for device in self.in_order if device.name in ends]
        links = [
            None if location in (None, device.name) else self.fleet.link(location, device.name)
            for device in here
        ]
        ways = [
            (device, link)
            for device, link in zip(here, links, strict=True)
            if link is not None or location in (None, device.name)
        ]
        has_others = len(self.in_order) > FEW and (location is None or self.fleet.shared_link is not None)
        return Near(tuple(ways), tuple(device for device, _ in ways), has_others)

    def shared_link(self, location: str | None) -> Link | None:
        """The link from a location to all other devices; None if there is none, or no location."""
        return None if location is None else self.fleet.shared_link

    def link_latency_s(self, task: Task, device: str) -> float | None:
        """Link latency from the task's input to a device; 0 if the input is there, None without a link."""
        if task.location is None or task.location == device:
            return 0.0
        link = self.fleet.link(task.location, device)
        return None if link is None else link.latency_s

    def transfer_s(self, task: Task, device: str) -> float:
        """Seconds to move the task's input over a free link; 0 if it is there, infinite without a link."""
        location = task.location
        if location is None or location == device:
            return 0.0
        link = self.fleet.link(location, device)
        return math.inf if link is None else link.transfer_s(task.input_bytes)

    def carbon_g(self, task: Task, device: DeviceState) -> float:
        """Predicted grams of a task on a device, its transfer included."""
        grams, location = device.carbon_g(task.stage), task.location
        if location is None or location == device.name:
            return grams
        link = self.fleet.link(location, device.name)
        if link is None or not link.end_j_per_byte:
            return grams
        joules, sender = task.input_bytes * link.end_j_per_byte, self.devices[location]
        sent_g = carbon_g(joules, sender.intensity_g_per_kwh, LINK_PUE)
        return grams + (sent_g + carbon_g(joules, device.intensity_g_per_kwh, LINK_PUE))

    def view(self, key: Hashable, make: Callable[[], _View]) -> _View:
        """The view under a scheduler's key; `make` builds it, also after each change of intensity."""
        kept, seen = self._views.get(key, (None, 0))
        now = len(self._changes)
        if kept is not None and seen == now:
            return kept  # type: ignore[no-any-return]
        view: _View = make() if kept is None else kept
        if kept is not None:
            view.update(set(self._changes[seen:]))
        self._views[key] = view, now
        return view

    def ranking(self, key: Hashable, by: Callable[[DeviceState], float]) -> Ranking:
        """The devices in ascending order of `by`, which may depend only on device state and intensity."""
        return self.view(key, lambda: Ranked(self.in_order, by)).ranking

    def begin(self, task: Task, device: str) -> None:
        """Record that a task is assigned to a device."""
        self.num_assigned += 1
        if len(self._changes) > self._most_changes:
            self._catch_up()
        state = self.devices[device]
        state.begin(task, self.now_s, self.now_s + self.transfer_s(task, device))
        spent_g, tenant = self.spent_g, task.tenant
        spent_g[tenant] = spent_g.get(tenant, 0.0) + self.carbon_g(task, state)
        self._changes.append(state.index)

    def end(self, task: Task, device: str, execution_s: float | None) -> None:
        """Record that a task has ended on a device; execution_s: None if an outage ended it."""
        state = self.devices[device]
        state.end(task, self.now_s, execution_s)
        self._changes.append(state.index)

    def set_up(self, device: str, up: bool) -> None:
        """Record that a device goes down or is up again."""
        state = self.devices[device]
        state.up = up
        self._changes.append(state.index)

    def _catch_up(self) -> None:
        """Update all views, also those that are seldom used, and forget the changes, which would pile up."""
        for key, (view, seen) in self._views.items():
            view.update(set(self._changes[seen:]))
            self._views[key] = view, 0
        self._changes.clear()
