"""The state of the fleet at one moment of a run: schedulers read it, the backend updates it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from pipeline.carbon.intensity import Intensity
from pipeline.domain.energy import carbon_g
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.ranking import Ranking

FORGET_AFTER = 100
"""Changes per device after which all views are updated."""


class View(Protocol):
    """Figures about all devices, computed once for a scheduler and updated as devices change."""

    def update(self, changed: Iterable[int]) -> None:
        """Compute the figures of devices anew; changed: their indices."""
        ...


_View = TypeVar("_View", bound=View)


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
        """Intensity over the whole run; values after `now_s` are a perfect forecast (`carbon.forecast`)."""
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
        self.waiting_s = 0.0
        """Seconds that all devices together would need for the deferred tasks (`together_s`)."""
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
        """Seconds that all devices together need for a stage and its successors, by stage."""
        self._views: dict[Hashable, tuple[Any, int]] = {}
        """With the number of entries of `_changes` that each view has taken in."""
        self._changes: list[int] = []
        """Index of the device of each change, in order."""
        self._most_changes = FORGET_AFTER * len(fleet.devices)
        self._own_links: dict[str, tuple[DeviceState, ...]] = {}
        self._step = self._hour = 0
        self._next_change_s = 0.0
        """Time of the next step of the intensity or the next full hour."""

    def advance(self, now_s: float) -> None:
        """Advance the clock, and with it the intensities and the hour of the budgets."""
        self.now_s = now_s
        if now_s >= self._next_change_s:
            self._change(now_s)

    def _change(self, now_s: float) -> None:
        steps = self.intensity.since_s
        step, hour = int(steps.searchsorted(now_s, side="right")) - 1, int(now_s // 3600)
        if step != self._step:
            for device, value in zip(self.in_order, self.intensity.at(now_s).values(), strict=True):
                device.set_intensity(value)
            self._views.clear()
            self._changes.clear()
        if hour != self._hour:
            self.spent_g.clear()
        self._step, self._hour = step, hour
        next_step_s = float(steps[step + 1]) if step + 1 < len(steps) else math.inf
        self._next_change_s = min(next_step_s, 3600.0 * (hour + 1))

    def apart(self, location: str | None) -> tuple[DeviceState, ...]:
        """The devices that the shared link does not connect to a location.

        They are the location itself and the devices that have their own link to it.
        """
        if location is None:
            return ()
        known = self._own_links.get(location)
        if known is None:
            ends = {location, *self.fleet.linked(location)}
            apart = sorted((self.devices[end] for end in ends), key=lambda device: device.index)
            known = self._own_links[location] = tuple(apart)
        return known

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
        sent_g = carbon_g(joules, sender.intensity_g_per_kwh, sender.device.pue)
        return grams + (sent_g + carbon_g(joules, device.intensity_g_per_kwh, device.device.pue))

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
        state.begin(task, self.now_s)
        spent_g, tenant = self.spent_g, task.tenant
        spent_g[tenant] = spent_g.get(tenant, 0.0) + self.carbon_g(task, state)
        self._changes.append(state.index)

    def end(self, task: Task, device: str, execution_s: float | None) -> None:
        """Record that a task has ended on a device; execution_s: None if an outage ended it."""
        state = self.devices[device]
        state.end(task, self.now_s, execution_s)
        self._changes.append(state.index)

    def wait(self, task: Task) -> None:
        """Record that a scheduler defers a task."""
        self._num_waiting += 1
        self.waiting_s += self.together_s[task.stage]

    def wake(self, task: Task) -> None:
        """Record that a deferred task is ready again."""
        self._num_waiting -= 1
        # Set to exactly 0 without deferred tasks, which float subtraction does not guarantee.
        self.waiting_s = self.waiting_s - self.together_s[task.stage] if self._num_waiting else 0.0

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
