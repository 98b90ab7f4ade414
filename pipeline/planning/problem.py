"""The interface of a partitioner: the problem that it solves, and the plan that it returns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from pipeline.domain.checks import require, size_text
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, COMPRESSIONS, Plan
from pipeline.domain.profile import Profile
from pipeline.network.graph import Graph
from pipeline.planning.memory import needed_bytes


@dataclass(frozen=True)
class Problem:
    """The model, the fleet, the profile and the intensities that a partitioner plans for."""

    graph: Graph
    fleet: Fleet
    profile: Profile
    intensity_g_per_kwh: Mapping[str, float]
    """Carbon intensity at the run's start, by device."""
    compression: str = COMPRESSIONS[0]
    """Format in which tensors cross between devices, in every plan for this problem."""
    idle: str = "full"
    """Rule for the idle energy that counts, as in `pipeline.carbon.accounting.Accounting`."""
    reserved: str = "used"
    """Rule for the devices that count as reserved, likewise."""

    def plan(self, bounds: Sequence[int], devices: Sequence[str], order: Sequence[int] = ()) -> Plan:
        """A plan under the problem's compression.

        Raises ConfigError for a plan that is not valid, an unknown device, and stages that do not fit their
        device's memory. Stages on auto are not checked.
        """
        plan = Plan(tuple(bounds), tuple(devices), tuple(order), self.compression)
        graph = self.along(plan).graph
        for name in dict.fromkeys(plan.devices):
            if name == AUTO:
                continue
            stages = [plan.stage(k) for k, device in enumerate(plan.devices) if device == name]
            need = needed_bytes(
                sum(graph.stage_param_bytes(*stage) for stage in stages),
                max(graph.stage_peak_bytes(*stage) for stage in stages),
            )
            room = self.fleet.require_device("partitioner.devices", name).memory_bytes
            require(
                need <= room,
                f"fleet.devices.{name}.memory_bytes: the plan needs {size_text(need)} there (layers "
                f"{', '.join(f'{b} to {e}' for b, e in stages)}) and it has {size_text(room)}, "
                f"{size_text(need - room)} short",
            )
        return plan

    def along(self, plan: Plan) -> Problem:
        """The problem with its layers in the plan's order, so that the plan's stages are ranges of layers.

        Raises ConfigError if the order puts a layer before one that it needs.
        """
        if not plan.order:
            return self
        graph, profile = self.graph.reordered(plan.order), self.profile.reordered(plan.order)
        return replace(self, graph=graph, profile=profile)


class Partitioner(Protocol):
    """Chooses the cuts of a model, and a device or AUTO for each stage."""

    def partition(self, problem: Problem) -> Plan:
        """The plan for a problem. Deterministic; the problem stays unchanged."""
        ...


@runtime_checkable
class DeviceNamingPartitioner(Protocol):
    """A partitioner whose keys name devices: a wrong name is told before a profile is measured."""

    def require_devices(self, fleet: Fleet) -> None:
        """Raise ConfigError naming a key whose device the fleet lacks."""
        ...


@runtime_checkable
class InvertiblePartitioner(Protocol):
    """A partitioner whose keys can be set so that it returns a given plan."""

    def settings_for(self, plan: Plan, num_layers: int) -> Mapping[str, Any]:
        """The values of the partitioner's keys that make it return the plan, by key, such as `cuts.0`.

        plan: one that keeps the order of the model's chain of `num_layers` layers.
        """
        ...
