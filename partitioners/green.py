"""CarbonEdge's "Green Partitioning": the lower a device's carbon intensity, the larger its share. Pure.

Source: CarbonEdge (arXiv 2603.27420), Eq. 5 for the costs. The paper names Green Partitioning but gives no
formula. This project's formula: shares in proportion to AMP4EC's capability ÷ carbon intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

from partitioners.balanced import boundaries, shares
from partitioners.settings import first_devices, require_flag, require_stages
from pipeline.domain.checks import require
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.cost import require_connected
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Green:
    """One stage for each of the fleet's first `stages` devices (default: all), cut to the device's share.

    `pin` places stage k on device k; otherwise the scheduler places every task. Raises ConfigError naming a
    bad key.
    """

    stages: int | None = None
    pin: bool = True

    def __post_init__(self) -> None:
        require_stages(self.stages)
        require_flag("pin", self.pin)

    def partition(self, problem: Problem) -> Plan:
        """The plan with share = (capability / intensity) / sum over devices; intensities at the run's start.

        Raises ConfigError for more stages than devices or layers, for an intensity of 0, and where a pinned
        stage does not fit its device or the devices are not connected.
        """
        names = first_devices(problem, self.stages)
        for name in names:
            require(
                problem.intensity_g_per_kwh[name] > 0,
                f"fleet.devices.{name}: partitioner=green divides by its carbon intensity, which must be "
                f"above 0 g/kWh (it is {problem.intensity_g_per_kwh[name]:g})",
            )
        weights = [
            capability / problem.intensity_g_per_kwh[name]
            for name, capability in zip(names, shares(problem.fleet, names), strict=True)
        ]
        costs = [layer.eq5_cost for layer in problem.graph.layers]
        bounds = boundaries(costs, [weight / sum(weights) for weight in weights])
        plan = problem.plan(bounds, names if self.pin else [AUTO] * len(names))
        require_connected(problem, plan)
        return plan
