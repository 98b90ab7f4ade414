"""The whole model on one device: the baseline of every split. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Monolithic:
    """The unsplit model on `device`, else the fleet's `monolithic` device, else on auto."""

    device: str | None = None

    def partition(self, problem: Problem) -> Plan:
        """The plan of one stage. Raises ConfigError for an unknown device, and for too little memory."""
        self.require_devices(problem.fleet)
        device = self.device or problem.fleet.monolithic or AUTO
        return problem.plan((0, len(problem.graph.layers)), (device,))

    def require_devices(self, fleet: Fleet) -> None:
        """Raise ConfigError for an unknown device."""
        if self.device and self.device != AUTO:
            fleet.require_device("partitioner.device", self.device)
