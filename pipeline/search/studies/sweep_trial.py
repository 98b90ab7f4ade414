"""One trial of a sweep: its point, and the results of its repetitions. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.trial_result import TrialResult
from pipeline.search.search_space import Point


@dataclass(frozen=True)
class SweepTrial:
    """One point of a sweep and the results of its repetitions."""

    number: int
    point: Point
    results: tuple[TrialResult, ...] = ()
    failure: str = ""
    """Why the trial does not count; empty where it does."""

    @property
    def metrics(self) -> dict[str, float]:
        """The mean over the repetitions of each metric that all of them have."""
        each = [result.metrics for result in self.results]
        known = [key for key in (each[0] if each else ()) if all(key in metrics for metrics in each)]
        return {key: math.fsum(metrics[key] for metrics in each) / len(each) for key in known}

    def values(self, objectives: Mapping[str, str]) -> list[float]:
        """The metrics of the objectives, in their order; NaN for one that the trial lacks."""
        metrics = self.metrics
        return [float(metrics.get(key, math.nan)) for key in objectives]
