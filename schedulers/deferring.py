"""Tasks with slack wait for a step of lower forecast intensity, never past their deadline. Pure.

Based on "Let's wait awhile" (Wiesner et al., Middleware 2021), which moves flexible work to hours of low
carbon intensity. Here device and time are chosen together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.carbon.forecast import FORECASTS, Floats, forecast
from pipeline.domain.checks import require, require_number, require_whole
from pipeline.domain.tasks import Assign, Decision, Task, Wait
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import done_at_s, earliest, is_able, none_able


@dataclass(frozen=True)
class Deferring:
    """The least carbon over devices and the steps until the deadline; without slack, over devices now.

    A request waits only before its first stage, and only if the whole fleet could still finish it in time
    after all waiting requests. A decision considers every device and every step of the intensity
    before the deadline. Raises ConfigError naming the setting that is out of range.
    """

    forecast: str = "perfect"
    forecast_error: float = 0.1
    """Standard deviation of a noisy forecast, relative to the true intensity."""
    seed: int = 0
    """Seed of a noisy forecast."""
    margin: float = 0.1
    """Reserve as a share of the predicted time, since tasks may take longer than predicted."""

    def __post_init__(self) -> None:
        known = ", ".join(FORECASTS)
        require(self.forecast in FORECASTS, f"scheduler.forecast: must be one of {known} ({self.forecast!r})")
        require_number("scheduler", "forecast_error", self.forecast_error, least=0)
        require_whole("scheduler", "seed", self.seed)
        require_number("scheduler", "margin", self.margin, least=0)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign, or Wait for a cleaner step; if no device is able, Wait for one that is down, or Refuse."""
        able = [device for device in state.in_order if is_able(task, device, state)]
        if not able:
            return none_able(task, state)
        work, factor = state.work[task.stage], 1 + self.margin
        limit_s = state.now_s + (task.deadline_s - work.after_s - state.now_s) / factor
        outlook = state.view(id(self), lambda: _Outlook(self, state))
        best: DeviceState | None = None
        best_g = math.inf
        for device in able:
            at_s = done_at_s(task, device, state)
            if at_s <= limit_s:
                grams = outlook.grams(task, device, at_s - device.predicted_s(task.stage), state)
                if grams < best_g:
                    best, best_g = device, grams
        until_s = self._cleaner(task, able, state, outlook, best_g) if best and work.stage == 0 else None
        if until_s is not None:
            return Wait(until_s)
        chosen = best or earliest(task, state)
        assert chosen is not None  # some device is able
        return Assign(chosen.name)

    def _cleaner(
        self, task: Task, able: list[DeviceState], state: FleetState, outlook: _Outlook, now_g: float
    ) -> float | None:
        """Begin of the later step in which a device emits least, if that is less than now_g; else None."""
        if task.deadline_s == math.inf:
            return None
        # Leave time for the slowest device, after the fleet has shared the work of all waiting requests.
        slowest_s = max(
            device.predicted_s(task.stage) + state.transfer_s(task, device.name) for device in able
        )
        needed_s = slowest_s + state.work[task.stage].after_s + state.waiting_s + state.together_s[task.stage]
        latest_s = task.deadline_s - (1 + self.margin) * needed_s
        best_s = None
        for begin_s in outlook.since_s[1:]:
            if begin_s > latest_s:
                break
            for device in able:
                if device.free_at_s > latest_s:
                    continue
                grams = outlook.grams(task, device, max(begin_s, device.free_at_s), state)
                if grams < now_g:
                    best_s, now_g = begin_s, grams
        return best_s


class _Outlook:
    """A view of the forecast intensities; the state discards it with every step of the intensity."""

    def __init__(self, scheduler: Deferring, state: FleetState) -> None:
        step = int(state.intensity.since_s.searchsorted(state.now_s, side="right")) - 1
        self.since_s: list[float] = state.intensity.since_s[step:].tolist()
        self._since_s = state.intensity.since_s[step:]
        self._g_per_kwh: Floats = forecast(
            scheduler.forecast, state.fleet, state.intensity, step,
            error=scheduler.forecast_error, seed=scheduler.seed,
        )  # fmt: skip

    def update(self, changed: Iterable[int]) -> None:
        """Nothing: the outlook does not depend on the devices' tasks."""

    def grams(self, task: Task, device: DeviceState, at_s: float, state: FleetState) -> float:
        """Predicted grams of a task that begins on a device at `at_s`."""
        step = max(0, int(np.searchsorted(self._since_s, at_s, side="right")) - 1)
        now, then = float(self._g_per_kwh[device.index, 0]), float(self._g_per_kwh[device.index, step])
        present_g = state.carbon_g(task, device)
        return present_g + device.carbon_g(task.stage) * ((then / now - 1) if now else 0.0)
