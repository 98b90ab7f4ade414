"""Algorithm 1 of the CarbonEdge paper: the device with the highest weighted score runs the task. Pure.

Verbatim, with its pitfalls: S_C depends on the unit chosen for E_est (the paper says kWh; W * ms / 3 600 000
is Wh, and only the Wh reading gives its published scores). Where the paper is silent AMP4EC's code decides
(arXiv 2504.00407): the CPU a task needs and the history of 100; each component of S_R is clipped to [0, 1],
as the paper's "each component is normalised" says.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pipeline.domain import Assign, Decision, Refuse, Task, Wait, require, require_number
from pipeline.fleet_state import DeviceState, FleetState


class Scores(NamedTuple):
    """The five scores of Eq. 3 for one task on one device. A tuple, since every decision makes some."""

    resource: float
    load: float
    performance: float
    balance: float
    carbon: float


def scores(task: Task, state: DeviceState) -> Scores:
    """Eq. 3's scores: S_R, S_L, S_P, S_B and S_C (Eq. 4) of a device for a task.

    S_R = 0.5 cpu_free/cpu_needed + 0.5 mem_free/mem_needed, each clipped to [0, 1]
    S_L = 1 - load;  S_P = 1 / (1 + T_avg[s]);  S_B = 1 / (1 + 2 tasks in flight)
    S_C = 1 / (1 + I * E_est),  E_est = P[W] * T_avg[ms] / 3 600 000, in Wh
    """
    mean_time_s = state.mean_time_s(task.stage)
    estimate_wh = state.device.active_w * mean_time_s * 1e3 / 3.6e6
    return Scores(
        resource=0.5 * _share(state.cpu_free, task.cpu_need)
        + 0.5 * _share(state.memory_free_bytes, task.memory_need_bytes),
        load=1 - state.load,
        performance=1 / (1 + mean_time_s),
        balance=1 / (1 + 2 * state.in_flight),
        carbon=1 / (1 + state.intensity_g_per_kwh * estimate_wh),
    )


def _share(free: float, needed: float) -> float:
    return min(max(free / needed, 0.0), 1.0) if needed > 0 else 1.0


@dataclass(frozen=True)
class Weighted:
    """Skips loaded, distant and too small devices, scores the rest by Eq. 3; the first of equals wins.

    The weights are one mode of Table I. `carbon_weight`, where given, sets w_C and rescales the other four
    to sum to 1 - carbon_weight.
    """

    resource_weight: float
    load_weight: float
    performance_weight: float
    balance_weight: float
    mode_carbon_weight: float
    carbon_weight: float | None = None
    max_load: float = 0.8
    max_latency_s: float | None = None

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

    @functools.cached_property
    def weights(self) -> Scores:
        """The weights (w_R, w_L, w_P, w_B, w_C) in force."""
        carbon = self.mode_carbon_weight if self.carbon_weight is None else self.carbon_weight
        others = [float(getattr(self, name)) for name in self.OTHERS]
        rescaled = self.carbon_weight is not None and sum(others) > 0
        scale = (1 - carbon) / sum(others) if rescaled else 1.0
        resource, load, performance, balance = (scale * weight for weight in others)
        return Scores(resource, load, performance, balance, carbon)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the best device; Wait while load alone excludes the rest; else Refuse, saying why."""
        weights = self.weights

        def penalty(device: DeviceState) -> float:
            if not self.may_take(task, device):
                return math.inf
            s = scores(task, device)
            return -(
                weights.resource * s.resource
                + weights.load * s.load
                + weights.performance * s.performance
                + weights.balance * s.balance
                + weights.carbon * s.carbon
            )

        for index in state.ranking((id(self), task.stage), penalty).ascending():
            device = state.in_order[index]
            latency_s = state.link_latency_s(task, device.name)
            if latency_s is not None and (self.max_latency_s is None or latency_s <= self.max_latency_s):
                return Assign(device.name)
        return self._nobody(task, state)

    def may_take(self, task: Task, device: DeviceState) -> bool:
        """Whether a device holds the stage, is there, and is neither loaded nor short of CPU; links aside."""
        return device.fits(task.stage) and device.load <= self.max_load and task.cpu_need <= device.cpu_free

    def _nobody(self, task: Task, state: FleetState) -> Decision:
        reasons = []
        for name, device in state.devices.items():
            latency_s = state.link_latency_s(task, name)
            if device.seconds[task.stage] is None:
                reasons.append(f"{name} has too little memory")
            elif latency_s is None:
                reasons.append(f"{name} is not connected to {task.location}")
            elif self.max_latency_s is not None and latency_s > self.max_latency_s:
                reasons.append(f"{name} is {latency_s:g} s away")
            elif task.cpu_need > device.device.cpu_quota:
                reasons.append(f"{name} has too little CPU")
            else:  # it is loaded, or gone
                return Wait(math.inf)
        return Refuse("; ".join(reasons))
