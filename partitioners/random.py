"""Random cuts and devices, by a seed: the baseline that every strategy must beat. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioners.settings import require_layers, require_stages
from pipeline.domain.checks import require_seed
from pipeline.domain.plan import Plan
from pipeline.planning.first_feasible import first_feasible
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Random:
    """`stages` stages on any devices; null: a uniform number from 1 to the smaller of devices and layers.

    Raises ConfigError naming a bad key.
    """

    seed: int = 0
    stages: int | None = None

    def __post_init__(self) -> None:
        require_seed("partitioner", self.seed)
        require_stages(self.stages)

    def partition(self, problem: Problem) -> Plan:
        """The first plan drawn that fits memory and whose devices are connected.

        Raises ConfigError for more stages than layers, and after 1,000 plans that are not possible.
        """
        if self.stages is not None:
            require_layers(problem, self.stages)
        rng = np.random.default_rng(self.seed)
        return first_feasible("partitioner", problem, lambda: self._draw(problem, rng))

    def _draw(self, problem: Problem, rng: np.random.Generator) -> Plan:
        names, num_layers = list(problem.fleet.by_name), len(problem.graph)
        stages = self.stages or int(rng.integers(1, min(len(names), num_layers), endpoint=True))
        inner = sorted(int(cut) for cut in rng.choice(np.arange(1, num_layers), stages - 1, replace=False))
        devices = [names[k] for k in rng.integers(len(names), size=stages)]
        return problem.plan([0, *inner, num_layers], devices)
