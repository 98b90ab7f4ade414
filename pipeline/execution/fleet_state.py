"""The fleet as it stands at one moment of a run: what a scheduler sees and the backend updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar, cast

from pipeline.carbon.intensity import Intensity
from pipeline.domain.energy import carbon_g
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.ranking import Ranking


class View(Protocol):
    """What a scheduler has worked out about all devices and keeps up as they change."""

    changed: set[int]
    """Indices of devices that have changed since it last looked; the state puts them in."""


_View = TypeVar("_View", bound=View)


class Ranked:
    """A view: the devices by a key that only their own state decides; infinite: out."""

    def __init__(self, devices: Sequence[DeviceState], key: Callable[[DeviceState], float]) -> None:
        self.changed: set[int] = set()
        self._devices = devices
        self._key = key
        self._ranking = Ranking([key(device) for device in devices])

    def ranking(self) -> Ranking:
        """The order as of now; places are indices of devices."""
        if self.changed:
            for index in self.changed:
                self._ranking.set(index, self._key(self._devices[index]))
            self.changed.clear()
        return self._ranking


class FleetState:
    """All devices now, in the fleet's order."""

    def __init__(
        self, fleet: Fleet, work: Sequence[StageDeployment], intensity: Intensity, idle: str = "full"
    ) -> None:
        self.fleet = fleet
        self.work = work
        """What a task's `stage` is an index into."""
        self.intensity = intensity
        """The run's, to its end: what a scheduler reads beyond `now_s` is a perfect forecast."""
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
        """Tasks that were given to a device so far."""
        self.spent_g: dict[str, float] = {}
        """By tenant: predicted carbon of its tasks in the hour now running."""
        self.waiting_s = 0.0
        """What the tasks that wait of their own accord would take all devices together (`together_s`)."""
        self._num_waiting = 0
        rates = [sum(1 / max(s, 1e-12) for s in stage.seconds.values()) for stage in work]
        own_s = [1 / rate if rate else math.inf for rate in rates]
        self.together_s = tuple(
            sum(
                own_s[j]
                for j, later in enumerate(work)
                if later.service == w.service and later.stage >= w.stage
            )
            for w in work
        )
        """By stage: seconds for which it and those after it busy the fleet, if all devices share them."""
        self._views: dict[Hashable, View] = {}
        self._told: list[set[int]] = []
        """`changed` of every view."""
        self._shared_link = next((link for link in fleet.links if link.between is None), None)
        self._own_links: dict[str, tuple[DeviceState, ...]] = {}
        self._next_step = 1
        self._hour = 0

    def advance(self, now_s: float) -> None:
        """The clock moves on, and with it intensities and the budgets' hour."""
        self.now_s = now_s
        steps = self.intensity.since_s
        if self._next_step < len(steps) and now_s >= steps[self._next_step]:
            for device, value in zip(self.in_order, self.intensity.at(now_s).values(), strict=True):
                device.intensity_g_per_kwh = value
            self._next_step = int(steps.searchsorted(now_s, side="right"))
            self._views.clear()
            self._told.clear()
        if now_s >= 3600 * (self._hour + 1):
            self._hour = int(now_s // 3600)
            self.spent_g.clear()

    def apart(self, location: str | None) -> tuple[DeviceState, ...]:
        """The devices that a tensor from there does not reach by the link that all others share.

        The place itself, and those with a link of their own to it.
        """
        if location is None:
            return ()
        known = self._own_links.get(location)
        if known is None:
            ends = {location} | {
                end
                for link in self.fleet.links
                if location in (link.between or ())
                for end in link.between or ()
            }
            known = self._own_links[location] = tuple(d for d in self.in_order if d.name in ends)
        return known

    def shared_link(self, location: str | None) -> Link | None:
        """The link by which a tensor from there reaches all others; None where there is none, or no need."""
        return None if location is None else self._shared_link

    def link_latency_s(self, task: Task, device: str) -> float | None:
        """Latency from where the task's input lies to the device; 0 on the spot, None if not connected."""
        if task.location is None or task.location == device:
            return 0.0
        link = self.fleet.link(task.location, device)
        return None if link is None else link.latency_s

    def transfer_s(self, task: Task, device: str) -> float:
        """Seconds until the task's input is there, over a free link; 0 on the spot, infinite if never."""
        if task.location is None or task.location == device:
            return 0.0
        link = self.fleet.link(task.location, device)
        return math.inf if link is None else link.transfer_s(task.input_bytes)

    def carbon_g(self, task: Task, device: DeviceState) -> float:
        """What the task adds to the run's carbon on a device, as predicted, its transfer included."""
        grams = device.carbon_g(task.stage)
        if task.location is None or task.location == device.name:
            return grams
        link = self.fleet.link(task.location, device.name)
        if link is None or not link.end_j_per_byte:
            return grams
        joules = task.input_bytes * link.end_j_per_byte
        ends = (self.devices[task.location], device)
        return grams + sum(carbon_g(joules, d.intensity_g_per_kwh, d.device.pue) for d in ends)

    def view(self, key: Hashable, make: Callable[[], _View]) -> _View:
        """A scheduler's own view under its own key; made anew after the intensity has changed."""
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = make()
            self._told = [each.changed for each in self._views.values()]
        return cast(_View, view)

    def ranking(self, key: Hashable, by: Callable[[DeviceState], float]) -> Ranking:
        """The devices by rising `by`, which only a device's own state (and the intensity) may decide."""
        return self.view(key, lambda: Ranked(self.in_order, by)).ranking()

    def begin(self, task: Task, device: str) -> None:
        """A task is given to a device."""
        self.num_assigned += 1
        state = self.devices[device]
        state.begin(task, self.now_s)
        grams = self.carbon_g(task, state)
        self.spent_g[task.tenant] = self.spent_g.get(task.tenant, 0.0) + grams
        self._touch(state.index)

    def end(self, task: Task, device: str, execution_s: float | None) -> None:
        """A task has ended on a device, or (None) was taken away from it."""
        state = self.devices[device]
        state.end(task, self.now_s, execution_s)
        self._touch(state.index)

    def wait(self, task: Task) -> None:
        """A task waits of its own accord."""
        self._num_waiting += 1
        self.waiting_s += self.together_s[task.stage]

    def wake(self, task: Task) -> None:
        """It waits no longer."""
        self._num_waiting -= 1
        # As of devices: nobody waiting must be an exact zero.
        self.waiting_s = self.waiting_s - self.together_s[task.stage] if self._num_waiting else 0.0

    def set_up(self, device: str, up: bool) -> None:
        """A device is gone, or back."""
        state = self.devices[device]
        state.up = up
        self._touch(state.index)

    def _touch(self, index: int) -> None:
        for changed in self._told:
            changed.add(index)
