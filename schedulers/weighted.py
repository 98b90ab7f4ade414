"""Algorithm 1 of the CarbonEdge paper: the device with the highest weighted score runs the task. Pure.

Implemented verbatim, with its pitfalls: S_C depends on the unit of E_est (the paper states kWh; its formula
W * ms / 3 600 000 gives Wh, and only Wh gives the published scores). Values that the paper does not state are
from AMP4EC's code (arXiv 2504.00407): the CPU that a task needs, and the history of 100 executions.
Each component of S_R is clipped to [0, 1], as the paper writes "each component is normalised"; for a device
that may take the task, both are then 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar, NamedTuple, Self

from pipeline.domain.checks import require, require_number
from pipeline.domain.fleet import Link
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState


class Scores(NamedTuple):
    """A value for each of the five scores of Eq. 3."""

    resource: float
    load: float
    performance: float
    balance: float
    carbon: float


def scores(task: Task, state: DeviceState) -> tuple[float, float, float, float, float]:
    """Eq. 3's scores, in the order of `Scores`: S_R, S_L, S_P, S_B and S_C (Eq. 4) of a device for a task.

    S_R = 0.5 cpu_free/cpu_needed + 0.5 mem_free/mem_needed, each clipped to [0, 1]
    S_L = 1 - load;  S_P = 1 / (1 + T_avg[s]);  S_B = 1 / (1 + 2 tasks in flight)
    S_C = 1 / (1 + I * E_est),  E_est = P[W] * T_avg[ms] / 3 600 000, in Wh
    """
    device, need = state.device, task.cpu_need  # one expression and a plain tuple for speed
    mean_time_s = state.mean_time_s(task.stage)
    cpu, memory_need = state.cpu_in_use, task.memory_need_bytes
    cpu_share = (device.cpu_quota - cpu) / need if need > 0 else 1.0
    memory_share = (device.memory_bytes - state.memory_in_use_bytes) / memory_need if memory_need > 0 else 1.0
    return (
        0.5 * (0.0 if cpu_share < 0 else 1.0 if cpu_share > 1 else cpu_share)
        + 0.5 * (0.0 if memory_share < 0 else 1.0 if memory_share > 1 else memory_share),
        1 - cpu / device.cpu_quota,
        1 / (1 + mean_time_s),
        1 / (1 + 2 * state.in_flight),
        1 / (1 + state.intensity_g_per_kwh * (device.active_w * mean_time_s * 1e3 / 3.6e6)),
    )


@dataclass(frozen=True)
class Weighted:
    """Skips loaded, distant and too small devices and scores the rest by Eq. 3; of equal devices the first.

    The weights are one mode of Table I. `carbon_weight` replaces `mode_carbon_weight` as w_C and rescales the
    other four to sum to 1 - carbon_weight. Raises ConfigError naming the setting that is out of range.
    """

    resource_weight: float
    load_weight: float
    performance_weight: float
    balance_weight: float
    mode_carbon_weight: float
    carbon_weight: float | None = None
    max_load: float = 0.8
    """CPUs needed by the tasks in flight ÷ quota, above which a device is skipped."""
    max_latency_s: float | None = None
    """Latency of the link from the input's device, above which a device is skipped; None: no limit."""

    OTHERS: ClassVar = ("resource_weight", "load_weight", "performance_weight", "balance_weight")

    def __post_init__(self) -> None:
        for name in (*self.OTHERS, "mode_carbon_weight", "carbon_weight"):
            weight = getattr(self, name)
            if weight is None and name == "carbon_weight":
                continue
            require_number("scheduler", name, weight, least=0)
            require(weight <= 1, f"scheduler.{name}: must lie in [0, 1] ({name}: {weight:g})")
        require_number("scheduler", "max_load", self.max_load, least=0)
        if self.max_latency_s is not None:
            require_number("scheduler", "max_latency_s", self.max_latency_s, least=0)
        others = sum(getattr(self, name) for name in self.OTHERS)
        require(
            others > 0 or self.carbon_weight in (None, 1.0),
            "scheduler.carbon_weight: cannot be rescaled when the other four weights are all 0",
        )

    @cached_property
    def weights(self) -> Scores:
        """The weights (w_R, w_L, w_P, w_B, w_C) in force."""
        carbon = self.mode_carbon_weight if self.carbon_weight is None else self.carbon_weight
        others = [float(getattr(self, name)) for name in self.OTHERS]
        rescaled = self.carbon_weight is not None and sum(others) > 0
        scale = (1 - carbon) / sum(others) if rescaled else 1.0
        resource, load, performance, balance = (scale * weight for weight in others)
        return Scores(resource, load, performance, balance, carbon)

    def weighing_carbon(self, weight: float) -> Self:
        """The same scheduler with this `carbon_weight`."""
        return replace(self, carbon_weight=weight)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the best device; Wait if some are only loaded or down; else Refuse with the reasons."""
        near, shared = state.near(task.location), state.shared_link(task.location)
        best, least = None, (math.inf, 0)
        for device, link in near.ways:
            if link is None or self._is_close(link):
                penalty = self._penalty(task, device)
                if (penalty, device.index) < least:
                    best, least = device, (penalty, device.index)
        if near.has_others and (shared is None or self._is_close(shared)):
            ranking = state.ranking((id(self), task.stage), partial(self._penalty, task))
            others = (index for index in ranking.ascending() if state.in_order[index] not in near.devices)
            index = next(others, None)
            if index is not None and (ranking.key(index), index) < least:
                best = state.in_order[index]
        return self._nobody(task, state) if best is None else Assign(best.name)

    def _is_close(self, link: Link) -> bool:
        return self.max_latency_s is None or link.latency_s <= self.max_latency_s

    def _penalty(self, task: Task, device: DeviceState) -> float:
        if not self.may_take(task, device):
            return math.inf
        resource, load, performance, balance, carbon = scores(task, device)
        w_resource, w_load, w_performance, w_balance, w_carbon = self.weights
        return -(
            w_resource * resource
            + w_load * load
            + w_performance * performance
            + w_balance * balance
            + w_carbon * carbon
        )

    def may_take(self, task: Task, device: DeviceState) -> bool:
        """Whether a device is up, holds the stage, has the free CPU and memory, and is not loaded; no links.

        Like the paper, it counts a task's whole need as long as the task is queued or runs.
        """
        quota, in_use = device.device.cpu_quota, device.cpu_in_use
        return (
            in_use / quota <= self.max_load
            and task.cpu_need <= quota - in_use
            and task.memory_need_bytes <= device.device.memory_bytes - device.memory_in_use_bytes
            and device.fits(task.stage)
        )

    def _nobody(self, task: Task, state: FleetState) -> Decision:
        reasons = []
        for name, device in state.devices.items():
            latency_s = state.link_latency_s(task, name)
            if device.seconds[task.stage] is None or task.memory_need_bytes > device.device.memory_bytes:
                reasons.append(f"{name} has too little memory")
            elif latency_s is None:
                reasons.append(f"{name} is not connected to {task.location}")
            elif self.max_latency_s is not None and latency_s > self.max_latency_s:
                reasons.append(f"the link to {name} has a latency of {latency_s:g} s")
            elif task.cpu_need > device.device.cpu_quota:
                reasons.append(f"{name} has too little CPU")
            else:  # it is loaded, or down
                return Wait(math.inf)
        return Refuse("; ".join(reasons))
