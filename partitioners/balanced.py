"""AMP4EC's partitioner: boundaries that balance the cost of Eq. 5 by the devices' capability. Pure.

Source: AMP4EC (arXiv 2504.00407) and its code, with Eq. 5 of CarbonEdge (arXiv 2603.27420). Eq. 5 leaves out
output size and groups, so depthwise convolutions weigh far too much: this is the paper's baseline, not our
cost model.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.checks import require
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Balanced:
    """One stage for each of the fleet's first `stages` devices (default: all), its share by capability.

    `pin` places stage k on device k, whose share it was cut to; otherwise the scheduler places every task.
    """

    stages: int | None = None
    pin: bool = False

    def __post_init__(self) -> None:
        require_stages(self.stages)
        require_flag("pin", self.pin)

    def partition(self, problem: Problem) -> Plan:
        """A boundary is closed at the first layer where the cumulative cost reaches the cumulative share."""
        names = first_devices(problem, self.stages)
        costs = [layer.eq5_cost for layer in problem.graph.layers]
        bounds = boundaries(costs, shares(problem.fleet, names))
        return problem.plan(bounds, names if self.pin else [AUTO] * len(names))


def require_stages(stages: int | None) -> None:
    """Raise ConfigError unless it is null or a number of stages."""
    whole = isinstance(stages, int) and not isinstance(stages, bool)
    require(
        stages is None or (whole and stages >= 1),
        f"partitioner.stages: must be a whole number >= 1, or null (stages: {stages!r})",
    )


def require_flag(name: str, value: bool) -> None:
    """Raise ConfigError unless it is true or false."""
    require(isinstance(value, bool), f"partitioner.{name}: must be true or false ({name}: {value!r})")


def first_devices(problem: Problem, stages: int | None) -> list[str]:
    """The fleet's first `stages` devices; for null all of them, at most one a layer.

    Raises ConfigError for more stages than devices or layers.
    """
    names = list(problem.fleet.by_name)
    count = min(len(names), len(problem.graph)) if stages is None else stages
    require(
        count <= len(names),
        f"partitioner.stages: must lie between 1 and the fleet's {len(names)} devices (stages: {stages})",
    )
    require(
        count <= len(problem.graph),
        f"partitioner.stages: {problem.graph.name} has {len(problem.graph)} layers (stages: {stages})",
    )
    return names[:count]


def shares(fleet: Fleet, names: list[str]) -> list[float]:
    """Each device's share of the cost: 0.6 * cpu / max cpu + 0.4 * memory / max memory, normalised."""
    devices = [fleet.by_name[name] for name in names]
    max_cpu = max(device.cpu_quota for device in devices)
    max_memory = max(device.memory_bytes for device in devices)
    capability = [0.6 * d.cpu_quota / max_cpu + 0.4 * d.memory_bytes / max_memory for d in devices]
    return [value / sum(capability) for value in capability]


def boundaries(costs: list[int], parts: list[float]) -> tuple[int, ...]:
    """Bounds (0, ..., len(costs)) whose stages take about `parts` of the total; no stage is empty."""
    total = sum(costs)
    bounds = [0]
    reached, target, layer = 0, 0.0, 0
    for index, part in enumerate(parts[:-1]):
        target += part * total
        last = len(costs) - (len(parts) - 1 - index)
        while layer < last and (reached < target or layer == bounds[-1]):
            reached += costs[layer]
            layer += 1
        bounds.append(layer)
    return (*bounds, len(costs))
