"""The plan whose largest stage time is smallest, with stage k on device k: chains on chains. Pure.

Source: Pınar and Aykanat, "Fast optimal load balancing algorithms for 1D partitioning", JPDC 64 (2004); with
devices of different speeds in a fixed order, Pınar, Tabak and Aykanat, "One-dimensional partitioning for
heterogeneous systems", JPDC 68 (2008). It is solved by the dynamic programme on which both build. As there,
only computation counts, not transfers (see partitioner=pipeedge). Added here: each stage must fit its
device's memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioners.settings import first_devices, require_stages
from pipeline.domain.checks import require, size_text
from pipeline.domain.plan import Plan
from pipeline.planning.cost import Floats, Tables, require_connected
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Bottleneck:
    """Stage k on the fleet's device k, for `stages` devices (default: all, at most one per layer).

    Raises ConfigError for a bad number of stages.
    """

    stages: int | None = None

    def __post_init__(self) -> None:
        require_stages(self.stages)

    def partition(self, problem: Problem) -> Plan:
        """The plan whose slowest stage takes the least time.

        Raises ConfigError for more stages than devices or layers, if no stages fit the devices in this order,
        and if two successive devices are not connected.
        """
        names = first_devices(problem, self.stages)
        graph = problem.graph
        tables = Tables.of(problem)
        sizes = ", ".join(f"{name} ({size_text(problem.fleet.by_name[name].memory_bytes)})" for name in names)
        bounds = least_bottleneck(_stage_s(tables)[: len(names)])
        require(
            len(bounds) > 0,
            f"fleet.devices.*.memory_bytes: no {len(names)} stages of {graph.name} fit {sizes}, in this "
            f"order; the whole model as one stage needs {size_text(tables.stage_bytes[0, -1])}",
        )
        plan = problem.plan(bounds, names)
        require_connected(problem, plan)
        return plan


def least_bottleneck(stage_s: Floats) -> list[int]:
    """The K + 1 bounds of K stages over L layers whose largest time is least; empty if none is finite.

    stage_s (K, L + 1, L + 1) by [k, b, e]: seconds of layers[b:e] as stage k, infinite where it is not
    allowed. least[k + 1, e] = min over b of max(least[k, b], stage_s[k, b, e]), where least[0, 0] is 0.
    """
    stages, cuts = stage_s.shape[:2]
    least = np.full(cuts, np.inf)
    least[0] = 0.0
    choices = []
    for k in range(stages):
        longest = np.maximum(least[:, None], stage_s[k])
        choices.append(longest.argmin(axis=0))
        least = longest.min(axis=0)
    if not np.isfinite(least[-1]):
        return []
    bounds = [cuts - 1]
    for begin in reversed(choices):
        bounds.append(int(begin[bounds[-1]]))
    return bounds[::-1]


def _stage_s(tables: Tables) -> Floats:
    """(D, L + 1, L + 1): seconds of layers[b:e] on a device; infinite if e <= b or it does not fit."""
    stage_s = tables.times.all_stages(codecs=False)
    upward = np.triu(np.ones(stage_s.shape[1:], dtype=bool), 1)
    fits = tables.stage_bytes <= tables.memory_bytes[:, None, None]
    return np.where(upward & fits, stage_s, np.inf)
