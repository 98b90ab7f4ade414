"""Devices for a task and the later stages of its request, and when they are free for them. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from pipeline.domain.energy import carbon_g, stage_energy_j
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Slot, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState


class Leg(NamedTuple):
    """One stage of a request on one device."""

    stage: int
    device: DeviceState
    seconds: float
    transfer_s: float
    """Seconds to move its input here from the device of the stage before, over a free link."""
    g_per_intensity: float
    """Grams of the stage at 1 g/kWh."""
    transfer_g: float
    """Grams of the transfer at the present intensities."""


Route = tuple[Leg, ...]


def route(task: Task, first: DeviceState, state: FleetState) -> Route | None:
    """The task on one device, and each later stage on its planned device, else on the device before it.

    A stage on auto that the device before does not hold is on the device that finishes it first. None if a
    stage's input cannot be moved.
    """
    legs: list[Leg] = []
    device = first
    service = state.work[task.stage].service
    for stage in range(task.stage, len(state.work)):
        work = state.work[stage]
        if work.service != service:
            break
        if legs:
            task = task._replace(stage=stage, location=device.name, input_bytes=work.input_bytes)
            device = _next(task, device, state)
        transfer_s = state.transfer_s(task, device.name)
        seconds = device.predicted_s(stage)
        if transfer_s + seconds == math.inf:
            return None
        legs.append(
            Leg(
                stage,
                device,
                seconds,
                transfer_s,
                carbon_g(stage_energy_j(seconds, device.task_w), 1.0, device.device.pue),
                state.carbon_g(task, device) - device.carbon_g(stage),
            )
        )
    return tuple(legs)


def _next(task: Task, before: DeviceState, state: FleetState) -> DeviceState:
    planned = state.work[task.stage].planned
    if planned != AUTO:
        return state.devices[planned]
    if before.seconds[task.stage] is not None:
        return before
    return min(
        state.in_order, key=lambda d: (state.transfer_s(task, d.name) + d.predicted_s(task.stage), d.index)
    )


def first_slots(legs: Route, from_s: float, state: FleetState) -> tuple[float, tuple[Slot, ...]]:
    """The first time from `from_s` on at which a route can begin, and its slots.

    It begins with the transfer of the first input. Each stage follows at once upon the one before, on a
    device that has finished its queue and is not reserved.
    """
    begin_s = from_s
    while True:
        slots: list[Slot] = []
        at_s = begin_s
        for leg in legs:
            ready_s = at_s + leg.transfer_s
            free_s = max(ready_s, leg.device.free_at_s(state.now_s))
            free_s = state.reservations.first_free_s(leg.device.name, free_s, leg.seconds)
            if free_s > ready_s:  # begin so much later, by at least the least float
                begin_s = max(begin_s + (free_s - ready_s), math.nextafter(begin_s, math.inf))
                break
            at_s = free_s + leg.seconds
            slots.append(Slot(leg.stage, leg.device.name, free_s, at_s))
        else:
            return begin_s, tuple(slots)
