"""Cuts and devices by chance: what any strategy must beat. Pure: the chance is its seed's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioners.balanced import require_stages
from pipeline.domain.checks import ConfigError, require, require_whole
from pipeline.domain.plan import Plan
from pipeline.planning.cost import require_connected
from pipeline.planning.problem import Problem

MAX_DRAWS = 1000


@dataclass(frozen=True)
class Random:
    """`stages` stages (null: 1 to the smaller of devices and layers, each as likely), each on any device."""

    seed: int = 0
    stages: int | None = None

    def __post_init__(self) -> None:
        require_whole("partitioner", "seed", self.seed)
        require_stages(self.stages)

    def partition(self, problem: Problem) -> Plan:
        """The first draw that fits into memory and is connected; ConfigError after MAX_DRAWS without one."""
        num_layers = len(problem.graph)
        require(
            self.stages is None or self.stages <= num_layers,
            f"partitioner.stages: {problem.graph.name} has {num_layers} layers (stages: {self.stages})",
        )
        rng = np.random.default_rng(self.seed)
        reason = ""
        for _ in range(MAX_DRAWS):
            try:
                plan = self._draw(problem, rng)
                require_connected(problem, plan)
                return plan
            except ConfigError as error:
                reason = str(error)
        raise ConfigError(f"partitioner: none of {MAX_DRAWS} random plans is possible (the last: {reason})")

    def _draw(self, problem: Problem, rng: np.random.Generator) -> Plan:
        names, num_layers = list(problem.fleet.by_name), len(problem.graph)
        stages = self.stages or int(rng.integers(1, min(len(names), num_layers), endpoint=True))
        inner = sorted(int(cut) for cut in rng.choice(np.arange(1, num_layers), stages - 1, replace=False))
        devices = [names[k] for k in rng.integers(len(names), size=stages)]
        return problem.plan([0, *inner, num_layers], devices)
