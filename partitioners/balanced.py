"""AMP4EC's partitioner: each device's share of Eq. 5's cost is proportional to its capability. Pure.

Source: AMP4EC (arXiv 2504.00407) and its code, with Eq. 5 of CarbonEdge (arXiv 2603.27420). Eq. 5 ignores
output size and groups, and so greatly overstates depthwise convolutions: this is the paper's baseline, not
the cost model of `pipeline.planning.cost`.
"""

from __future__ import annotations

from dataclasses import dataclass

from partitioners.settings import first_devices, require_flag, require_stages
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Balanced:
    """One stage for each of the fleet's first `stages` devices (default: all), cut to the device's share.

    `pin` places stage k on device k; otherwise the scheduler places every task. Raises ConfigError naming a
    bad key.
    """

    stages: int | None = None
    pin: bool = False

    def __post_init__(self) -> None:
        require_stages(self.stages)
        require_flag("pin", self.pin)

    def partition(self, problem: Problem) -> Plan:
        """The plan whose stages end at the first layer at which the cumulative cost reaches their share.

        Raises ConfigError for more stages than devices or layers, and where a pinned stage does not fit.
        """
        names = first_devices(problem, self.stages)
        costs = [layer.eq5_cost for layer in problem.graph.layers]
        bounds = boundaries(costs, shares(problem.fleet, names))
        return problem.plan(bounds, names if self.pin else [AUTO] * len(names))


def shares(fleet: Fleet, names: list[str]) -> list[float]:
    """The named devices' shares of the cost, in the order of `names`; they add up to 1.

    A device's capability is 0.6 * cpu / max cpu + 0.4 * memory / max memory (AMP4EC); its share is the
    capability ÷ the sum of the named devices' capabilities.
    """
    devices = [fleet.by_name[name] for name in names]
    max_cpu = max(device.cpu_quota for device in devices)
    max_memory = max(device.memory_bytes for device in devices)
    capability = [0.6 * d.cpu_quota / max_cpu + 0.4 * d.memory_bytes / max_memory for d in devices]
    return [value / sum(capability) for value in capability]


def boundaries(costs: list[int], parts: list[float]) -> tuple[int, ...]:
    """Bounds (0, ..., len(costs)) of len(parts) stages that take about `parts` of the total cost.

    Stage k is layers[bounds[k]:bounds[k + 1]]; none is empty.
    """
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
