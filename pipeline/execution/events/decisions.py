"""What a scheduler may answer: a plug-in of a user may answer anything. Pure."""

from __future__ import annotations

from typing import Any

from pipeline.domain.checks import ConfigError, size_text
from pipeline.domain.tasks import Assign, Refuse, Task, Wait
from pipeline.execution.fleet_state import FleetState


def require_possible(owner: object, task: Task, decision: Any, state: FleetState, now_s: float) -> None:
    """Raise ConfigError, naming the scheduler, its answer and the task, for what a run cannot obey.

    owner: the scheduler. now_s: seconds from the run's start.
    """
    if type(decision) is Assign:
        fault = _device_fault(decision.device, task, state)
    elif type(decision) is Wait:
        later = isinstance(decision.until_s, float | int) and decision.until_s > now_s
        fault = "" if later else f"it must wait for a time after now, {now_s:g} s"
    elif type(decision) is Refuse:
        fault = "" if isinstance(decision.reason, str) else "its reason must be a text"
    else:
        fault = "it must be an Assign, a Wait or a Refuse"
    if fault:
        where = f"request {task.request}, stage {task.stage}"
        raise ConfigError(f"scheduler: {type(owner).__name__} answered {decision!r:.100} to {where}: {fault}")


def _device_fault(name: Any, task: Task, state: FleetState) -> str:
    found = state.devices.get(name) if isinstance(name, str) else None
    if found is None:
        return f"the fleet has no such device (it has {', '.join([*state.devices][:12])})"
    if found.device.memory_bytes < task.memory_need_bytes:
        has, needs = size_text(found.device.memory_bytes), size_text(task.memory_need_bytes)
        return f"the device has {has} of memory, and the stage needs {needs}"
    away = task.location is not None and task.location != name
    if away and state.fleet.link(str(task.location), name) is None:
        return f"no link leads there from {task.location}, which has its input"
    return ""
