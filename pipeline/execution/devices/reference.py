"""The reference model, by which speeds and this host's drift are told."""

from __future__ import annotations

import functools
import statistics

import torch

from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec

RECENT_LOOKS = 2
"""At this host's speed, by which a stage's CPU time is told."""


@functools.cache
def reference_graph(model: str) -> Graph:
    """The yardstick of speeds and of drift: a torchvision model at 224 x 224, batch 1."""
    return Graph.of(ModelSpec(name=model, library="torchvision").build(), torch.zeros(1, 3, 224, 224), model)


class Drift:
    """How many times as slow as its reference this host is, as the last few looks tell.

    Who shares its processor cores makes it half as slow again from one second to the next; what a stage
    takes is told as of the speed at that moment.
    """

    def __init__(self, reference_cpu_s: float) -> None:
        self.reference_cpu_s = reference_cpu_s
        self._looks: list[float] = []

    def add(self, cpu_s: float) -> None:
        """A look: CPU seconds of the reference model just now."""
        self._looks.append(cpu_s / self.reference_cpu_s)

    @property
    def now(self) -> float:
        """Of at least one look, the mean of the last RECENT_LOOKS."""
        return statistics.mean(self._looks[-RECENT_LOOKS:])

    @property
    def overall(self) -> float:
        """The median of all looks."""
        return statistics.median(self._looks)
