"""Simulated times of stages, drawn from the variation measured by the profile. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.execution.deployment import StageDeployment
from pipeline.execution.job import Job

Floats = npt.NDArray[np.float64]


class ServiceTimes:
    """Ratios of simulated to predicted stage times, drawn block by block."""

    def __init__(self, seed: int, job: Job, work: Sequence[StageDeployment]) -> None:
        self._random = np.random.default_rng(seed)
        self._stages = max(stage.stage for stage in work) + 1
        seen = {
            tuple(ratios) for service in job.services for ratios in service.problem.profile.variation.values()
        }
        self._ratios = np.array([ratio for ratios in sorted(seen) for ratio in ratios] or [1.0])

    def draw(self, requests: int) -> Floats:
        """The ratios of the next requests: (requests, stages of the longest plan)."""
        return self._random.choice(self._ratios, size=(requests, self._stages))
