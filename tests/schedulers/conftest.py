"""Tasks and fleets on which a scheduler's choice can be worked out by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from tests.conftest import configured

TASK = Task(request=0, stage=0, cpu_need=0.1, memory_need_bytes=100e6, input_bytes=0, location=None)


scheduler = functools.partial(configured, "scheduler")
"""A scheduler of conf/, by name."""
cached = functools.cache(scheduler)


@functools.cache
def paper_fleet() -> Fleet:
    fleet: Fleet = configured("fleet", "paper")
    return fleet


# The paper's own times: 250 ms on every node (its quota hardly acted).
EQUAL = {"node-high": 0.25, "node-medium": 0.25, "node-green": 0.25}
# Honest slow-down: 20 ms of CPU at quotas 1, 0.6 and 0.4.
HONEST = {"node-high": 0.02, "node-medium": 0.02 / 0.6, "node-green": 0.05}


def state_of(fleet: Fleet, times_s: Mapping[str, float], unfit: tuple[str, ...] = ()) -> FleetState:
    """Two stages of equal times; devices in `unfit` do not hold them."""
    seconds = {name: time_s for name, time_s in times_s.items() if name not in unfit}
    work = [StageDeployment(0, stage, AUTO, TASK.memory_need_bytes, 0, seconds, 0.0) for stage in range(2)]
    intensity = Intensity.constant({d.name: d.intensity_g_per_kwh or 0.0 for d in fleet.devices})
    return FleetState(fleet, work, intensity)


def timed_state(seconds: dict[str, float], intensity: Intensity) -> FleetState:
    """Devices of 36 W: a second at 1,000 g/kWh is 10 mg."""
    fleet = Fleet("f", tuple(Device(name, 1e9, 36, intensity_g_per_kwh=1) for name in seconds))
    return FleetState(fleet, [StageDeployment(0, 0, AUTO, 1e6, 0, seconds, 0.0)], intensity)


def scaled_best(w: Any, found: list[tuple[DeviceState, Any]]) -> str | None:
    """The device with the highest sum of scaled scores, as `normalized` should choose it."""
    best, best_sum = None, -math.inf
    for device, own in found:
        total = 0.0
        for k, weight in enumerate(w):
            column = [s[k] for _, s in found]
            spread = max(column) - min(column)
            total += weight / spread * own[k] if spread > 0 else 0.0
        if total > best_sum:
            best, best_sum = device.name, total
    return best
