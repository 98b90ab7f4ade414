"""The devices that can run a task, and the one that finishes first or emits least. Pure.

A device is able to run a task if it is up, has the memory for the stage, and is connected to the device that
holds the task's input. Of equal devices the first in the fleet's order is chosen.
"""

from __future__ import annotations

import math
from functools import partial

from pipeline.domain.energy import LINK_PUE, carbon_g
from pipeline.domain.fleet import Link
from pipeline.domain.tasks import Decision, Refuse, Task, Wait
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.ranking import Ranking


def is_able(task: Task, device: DeviceState, state: FleetState) -> bool:
    """Whether a device is up, holds the stage, and is connected to the device that holds the task's input."""
    return device.fits(task.stage) and state.link_latency_s(task, device.name) is not None


def none_able(task: Task, state: FleetState) -> Decision:
    """The decision if no device is able: Wait if one is merely down, else Refuse with a reason per device."""
    reasons = []
    for device in state.in_order:
        if device.seconds[task.stage] is None:
            reasons.append(f"{device.name} has too little memory")
        elif state.link_latency_s(task, device.name) is None:
            reasons.append(f"{device.name} is not connected to {task.location}")
        else:
            return Wait(math.inf)
    return Refuse("; ".join(reasons))


def first_able(task: Task, state: FleetState, ranking: Ranking) -> DeviceState | None:
    """The first able device of a ranking, or None. The ranking must exclude devices without the stage."""
    for index in ranking.ascending():
        if is_able(task, state.in_order[index], state):
            return state.in_order[index]
    return None


def ready_at_s(task: Task, state: FleetState, link: Link | None) -> float:
    """Time at which the task's input is on a device to which this link leads; None: it is there."""
    return state.now_s if link is None else state.now_s + link.transfer_s(task.input_bytes)


def earliest(task: Task, state: FleetState) -> DeviceState | None:
    """The able device with the earliest predicted completion, or None.

    Of equal completions that of an idle device is preferred, as a busy one may be late. Idle devices are
    ranked by the stage's time alone, busy ones by completion with the input there and no task late.
    """
    stage, now_s = task.stage, state.now_s
    best, best_key = None, (math.inf, False, 0)
    near = state.near(task.location)
    for device, link in near.ways:
        if device.up:
            done_s = device.done_at_s(stage, now_s, ready_at_s(task, state, link))
            key = (done_s, device.in_flight > 0, device.index)
            if key < best_key:
                best, best_key = device, key
    if not near.has_others:
        return best
    ready_s = ready_at_s(task, state, state.shared_link(task.location))
    for by, offset_s in ((idle_s, ready_s), (busy_until_s, 0.0)):
        ranking = state.ranking((by, stage), partial(by, stage=stage))
        for index in ranking.ascending():
            if ranking.key(index) + offset_s > best_key[0]:
                break  # no later device of the ranking can finish sooner
            device = state.in_order[index]
            key = (device.done_at_s(stage, now_s, ready_s), device.in_flight > 0, index)
            if device not in near.devices and key < best_key:
                best, best_key = device, key
    return best


def idle_s(device: DeviceState, stage: int) -> float:
    """Predicted seconds of a stage on an idle device; infinite for a busy one."""
    return device.predicted_s(stage) if device.in_flight == 0 and device.up else math.inf


def busy_until_s(device: DeviceState, stage: int) -> float:
    """Time at which a busy device should have finished its queue and a stage; infinite for an idle one.

    It is later if the running task is late (`DeviceState.free_at_s`), which a ranking cannot know.
    """
    if not device.in_flight or not device.up:
        return math.inf
    return device.due_s + device.behind_s + device.predicted_s(stage)


def green_g(task: Task, device: DeviceState, state: FleetState) -> float:
    """Predicted grams that a task emits on a device that its input reaches by the shared link.

    The sender's half of the transfer is left out: it is the same for every receiver. Infinite if the device
    does not hold the stage.
    """
    if device.seconds[task.stage] is None:
        return math.inf
    link = state.shared_link(task.location)
    joules = task.input_bytes * (link.end_j_per_byte or 0.0) if link else 0.0
    return device.carbon_g(task.stage) + carbon_g(joules, device.intensity_g_per_kwh, LINK_PUE)


def least_carbon(task: Task, state: FleetState) -> DeviceState | None:
    """The able device on which a task emits least, or None."""
    near = state.near(task.location)
    able = [device for device in near.devices if device.fits(task.stage)]
    if near.has_others:
        key = ("green", task.stage, task.location is None)
        ranking = state.ranking(key, lambda d: green_g(task, d, state) if d.up else math.inf)
        others = (state.in_order[index] for index in ranking.ascending())
        able += next(([device] for device in others if device not in near.devices), [])
    return min(able, key=lambda device: (state.carbon_g(task, device), device.index), default=None)
