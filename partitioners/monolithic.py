"""The whole model on one device: the baseline of every split. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Monolithic:
    """The unsplit model on `device`, else the fleet's `monolithic` device, else on auto."""

    device: str | None = None

    def partition(self, problem: Problem) -> Plan:
        """The plan of one stage. Raises ConfigError for an unknown device, and for too little memory."""
        device = self.device or problem.fleet.monolithic or AUTO
        if device != AUTO:
            problem.fleet.require_device("partitioner.device", device)
        return problem.plan((0, len(problem.graph.layers)), (device,))
