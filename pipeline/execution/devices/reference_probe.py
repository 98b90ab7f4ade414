"""The reference model, which measures the speed of devices and this host's drift. Pure."""

from __future__ import annotations

import functools
import statistics

import torch

from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec

RECENT_PROBES = 2
"""Number of latest probes whose mean is the present drift."""


@functools.cache
def reference_graph(model: str) -> Graph:
    """The graph of a torchvision model for one image of 224 x 224."""
    return Graph.of(ModelSpec(name=model, library="torchvision").build(), torch.zeros(1, 3, 224, 224), model)


class Drift:
    """This host's time for the reference model ÷ its time when profiled, from probes.

    Other work on the same processor cores can halve this host's speed from one second to the next, so each
    stage's CPU time is divided by the drift at that moment.
    """

    def __init__(self, reference_cpu_s: float) -> None:
        self.reference_cpu_s = reference_cpu_s
        """CPU seconds of the reference model at a drift of 1."""
        self._probes: list[float] = []

    def add(self, cpu_s: float) -> None:
        """Add a probe: the CPU seconds that the reference model has just taken."""
        self._probes.append(cpu_s / self.reference_cpu_s)

    @property
    def now(self) -> float:
        """Mean of the last RECENT_PROBES; needs at least one."""
        return statistics.mean(self._probes[-RECENT_PROBES:])

    @property
    def overall(self) -> float:
        """Median of all probes; needs at least one."""
        return statistics.median(self._probes)
