"""What schedulers share: who may take a task, who would be done with it first. Pure."""

from __future__ import annotations

import math
from functools import partial

from pipeline.domain.energy import carbon_g
from pipeline.domain.tasks import Decision, Refuse, Task, Wait
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.ranking import Ranking


def is_able(task: Task, device: DeviceState, state: FleetState) -> bool:
    """Whether a device holds the stage, is there, and can be reached from where the task's input lies."""
    return device.fits(task.stage) and state.link_latency_s(task, device.name) is not None


def nobody(task: Task, state: FleetState) -> Decision:
    """The answer where no device is able: Wait if one that is gone may come back, else Refuse, saying why."""
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
    """The first of a ranking of devices (those that do not hold the stage are out) that can be reached."""
    for index in ranking.ascending():
        if is_able(task, state.in_order[index], state):
            return state.in_order[index]
    return None


def done_at_s(task: Task, device: DeviceState, state: FleetState) -> float:
    """When the task would be done on a device: its input's way, the device's queue, its time there."""
    return device.done_at_s(task.stage, state.now_s + state.transfer_s(task, device.name))


def earliest(task: Task, state: FleetState) -> DeviceState | None:
    """Who would be done first, of equals the first; None where nobody is able.

    Idle devices are ranked by their time alone, busy ones by when they would be done at the earliest.
    """
    stage, best, best_s = task.stage, None, math.inf
    apart = state.apart(task.location)
    for device in apart:
        if is_able(task, device, state) and (at_s := done_at_s(task, device, state)) < best_s:
            best, best_s = device, at_s
    link = state.shared_link(task.location)
    if task.location is not None and link is None:
        return best
    ready_s = state.now_s + (link.transfer_s(task.input_bytes) if link else 0.0)
    for by, offset_s in ((idle_s, ready_s), (busy_until_s, 0.0)):
        ranking = state.ranking((by, stage), partial(by, stage=stage))
        for index in ranking.ascending():
            if ranking.key(index) + offset_s > best_s:
                break  # nobody further on can be done sooner
            device = state.in_order[index]
            at_s = device.done_at_s(stage, ready_s)
            sooner = at_s < best_s or (at_s == best_s and best is not None and index < best.index)
            if device not in apart and sooner:
                best, best_s = device, at_s
    return best


def idle_s(device: DeviceState, stage: int) -> float:
    """What a stage takes on a device that has nothing to do; infinite for any other."""
    return _seconds(device, stage) if device.in_flight == 0 else math.inf


def busy_until_s(device: DeviceState, stage: int) -> float:
    """When a device with something to do would have done a stage as well; infinite for any other."""
    return device.free_at_s + _seconds(device, stage) if device.in_flight else math.inf


def _seconds(device: DeviceState, stage: int) -> float:
    seconds = device.seconds[stage] if device.up else None
    return math.inf if seconds is None else seconds


def green_g(task: Task, device: DeviceState, state: FleetState) -> float:
    """What a task adds to the run's carbon on a device that its input reaches by the shared link.

    Without the sender's half of the transfer, which is the same wherever it goes. Infinite where the device
    does not hold the stage.
    """
    if device.seconds[task.stage] is None:
        return math.inf
    link = state.shared_link(task.location)
    joules = task.input_bytes * (link.end_j_per_byte or 0.0) if link else 0.0
    return device.carbon_g(task.stage) + carbon_g(joules, device.intensity_g_per_kwh, device.device.pue)


def least_carbon(task: Task, state: FleetState) -> DeviceState | None:
    """Where a task emits least, of equals the first; None where nobody is able."""
    apart = state.apart(task.location)
    able = [device for device in apart if is_able(task, device, state)]
    if task.location is None or state.shared_link(task.location) is not None:
        key = ("green", task.stage, task.location is None)
        ranking = state.ranking(key, lambda d: green_g(task, d, state) if d.up else math.inf)
        able += next(([state.in_order[k]] for k in ranking.ascending() if state.in_order[k] not in apart), [])
    return min(able, key=lambda device: (state.carbon_g(task, device), device.index), default=None)
