"""Requests with slack wait for a step of lower forecast intensity, with devices reserved for them. Pure.

Based on "Let's wait awhile" (Wiesner et al., Middleware 2021), which moves flexible work to hours of low
carbon intensity. Here device and time are chosen together.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.carbon.forecast import FORECASTS, Floats, forecast
from pipeline.domain.checks import require, require_number, require_seed
from pipeline.domain.tasks import Assign, Decision, Slot, Task, Wait
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.reservations import GAP_S
from schedulers.feasibility import earliest, is_able, none_able
from schedulers.routes import Route, first_slots, route


class Start(NamedTuple):
    """A time at which a request can begin its remaining stages, and the devices' slots for them."""

    route: Route
    at_s: float
    slots: tuple[Slot, ...]
    end_s: float
    """Predicted answer."""


@dataclass(frozen=True)
class Deferring:
    """The least carbon over devices and the steps until the deadline; without slack, over devices now.

    A request waits only for devices that are reserved for all its stages, in time and for it alone. So it
    meets its deadline if tasks take the predicted time, links are free, no device fails, and every later
    request finds devices too; one that does not goes ahead on the device that finishes it first. Of equal
    carbon the earliest answer is preferred. A decision considers every device and every step of the intensity
    before the deadline. Raises ConfigError naming the setting that is out of range.
    """

    forecast: str = "perfect"
    forecast_error: float = 0.1
    """Standard deviation of a noisy forecast, relative to the true intensity."""
    seed: int = 0
    """Seed of a noisy forecast."""
    margin: float = 0.1
    """Reserve as a share of the time from the beginning of a step to the answer, as tasks may take longer."""

    def __post_init__(self) -> None:
        known = ", ".join(FORECASTS)
        require(self.forecast in FORECASTS, f"scheduler.forecast: must be one of {known} ({self.forecast!r})")
        require_number("scheduler", "forecast_error", self.forecast_error, least=0)
        require_seed("scheduler", self.seed)
        require_number("scheduler", "margin", self.margin, least=0)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign, or Wait for a cleaner step or reserved devices; if no device is able, Wait or Refuse."""
        able = [device for device in state.in_order if is_able(task, device, state)]
        if not able:
            return none_able(task, state)
        state.foresee(task.deadline_s)
        outlook = state.view(id(self), lambda: _Outlook(self, state))
        best, best_key = None, (math.inf, math.inf, math.inf)
        for device in able:
            for from_s, start in self._starts(task, device, state, outlook):
                if start.end_s + self.margin * (start.end_s - from_s) <= task.deadline_s:
                    key = (0.0, outlook.grams(start), start.end_s)
                else:  # without enough reserve: the earliest answer
                    key = (1.0, start.end_s, 0.0)
                if key < best_key:
                    best, best_key = start, key
        if best is None:
            ahead = earliest(task, state)
            assert ahead is not None  # some device is able
            return Assign(ahead.name)
        first = best.route[0].device
        if best.at_s <= state.now_s or best.slots[0].begin_s <= first.free_at_s(state.now_s):
            return Assign(first.name, best.slots[1:])
        return Wait(best.at_s, best.slots)

    def _starts(
        self, task: Task, device: DeviceState, state: FleetState, outlook: _Outlook
    ) -> Iterator[tuple[float, Start]]:
        """The starts on a device that meet the deadline, each with the time from which it is the first."""
        legs = outlook.route(task, device, state)
        if legs is None:
            return
        first_stage = state.work[task.stage].stage == 0
        own = _own_start(task, legs, state)
        if own is not None and own.end_s <= task.deadline_s:
            yield state.now_s, own
            if not first_stage:
                return
        later_s = outlook.since_s[1:] if first_stage and task.deadline_s < math.inf else ()
        before_s = -math.inf
        for from_s in (state.now_s, *later_s):
            if from_s > task.deadline_s:
                return
            at_s, slots = first_slots(legs, from_s, state)
            if at_s > before_s and slots[-1].end_s <= task.deadline_s:  # at before_s: the last step's start
                yield from_s, Start(legs, at_s, slots, slots[-1].end_s)
            before_s = at_s


def _own_start(task: Task, legs: Route, state: FleetState) -> Start | None:
    """The start in the slots that the request has, if they are on this route; late if a device is late."""
    own = tuple(slot for slot in state.reservations.of(task.request) if slot.stage >= task.stage)
    if [slot.device for slot in own] != [leg.device.name for leg in legs]:
        return None
    ready_s = max(state.now_s + legs[0].transfer_s, legs[0].device.free_at_s(state.now_s))
    late_s = max(0.0, ready_s - own[0].begin_s)
    at_s = own[0].begin_s - legs[0].transfer_s
    return Start(legs, at_s if at_s > state.now_s + GAP_S else state.now_s, own, own[-1].end_s + late_s)


class _Outlook:
    """A view of the forecast intensities and the routes; the state discards it with every step."""

    def __init__(self, scheduler: Deferring, state: FleetState) -> None:
        step = int(state.intensity.since_s.searchsorted(state.now_s, side="right")) - 1
        self.since_s: list[float] = state.intensity.since_s[step:].tolist()
        self._g_per_kwh: Floats = forecast(
            scheduler.forecast, state.fleet, state.intensity, step,
            error=scheduler.forecast_error, seed=scheduler.seed,
        )  # fmt: skip
        self._routes: dict[tuple[int, str | None, int], Route | None] = {}

    def update(self, changed: Iterable[int]) -> None:
        """Nothing: the outlook does not depend on the devices' tasks."""

    def route(self, task: Task, device: DeviceState, state: FleetState) -> Route | None:
        """The route of a task and its later stages from a device on."""
        key = task.stage, task.location, device.index
        if key not in self._routes:
            self._routes[key] = route(task, device, state)
        return self._routes[key]

    def grams(self, start: Start) -> float:
        """Predicted grams of a request's remaining stages, each at the intensity at its beginning."""
        total_g = 0.0
        for leg, slot in zip(start.route, start.slots, strict=True):
            step = max(0, bisect_right(self.since_s, slot.begin_s) - 1)
            total_g += leg.transfer_g + leg.g_per_intensity * float(self._g_per_kwh[leg.device.index, step])
        return total_g
