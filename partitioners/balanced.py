"""AMP4EC's partitioner: boundaries that balance the cost of Eq. 5 by the devices' capability. Pure.

Source: AMP4EC (arXiv 2504.00407) and its code, with Eq. 5 of CarbonEdge (arXiv 2603.27420). Eq. 5 leaves out
output size and groups, so depthwise convolutions weigh far too much: this is the paper's baseline, not our
cost model.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain import AUTO, Fleet, Plan, Problem, require


@dataclass(frozen=True)
class Balanced:
    """One stage for each of the fleet's first `stages` devices (default: all), its share by capability.

    `pin` places stage k on device k, whose share it was cut to; otherwise the scheduler places every task.
    """

    stages: int | None = None
    pin: bool = False

    def partition(self, problem: Problem) -> Plan:
        """A boundary is closed at the first layer where the cumulative cost reaches the cumulative share."""
        names = [device.name for device in problem.fleet.devices]
        costs = [layer.eq5_cost for layer in problem.graph.layers]
        stages = len(names) if self.stages is None else self.stages
        require(
            1 <= stages <= min(len(names), len(costs)),
            f"partitioner.stages: must lie between 1 and the fleet's {len(names)} devices (stages: {stages})",
        )
        bounds = boundaries(costs, shares(problem.fleet, names[:stages]))
        return Plan(bounds, tuple(names[:stages]) if self.pin else (AUTO,) * stages)


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
