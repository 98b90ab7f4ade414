"""The plan whose largest stage time is smallest, with stage k on device k: chains on chains. Pure.

Source: Pınar and Aykanat, "Fast optimal load balancing algorithms for 1D partitioning", JPDC 64 (2004); with
devices of different speeds in a fixed order, Pınar, Tabak and Aykanat, "One-dimensional partitioning for
heterogeneous systems", JPDC 68 (2008). Solved by the dynamic programme that both start from. As there, only
computation counts, not transfers (see partitioner=pipeedge). Added here: each stage must fit its device's
memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioners.settings import first_devices, require_stages
from pipeline.domain.checks import require, size_text
from pipeline.domain.plan import Plan
from pipeline.planning.cost import Floats, require_connected
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Bottleneck:
    """Stage k on the fleet's device k, for `stages` devices (default: all, at most one per layer)."""

    stages: int | None = None

    def __post_init__(self) -> None:
        require_stages(self.stages)

    def partition(self, problem: Problem) -> Plan:
        """The plan whose slowest stage takes least time.

        Raises ConfigError for more stages than devices or layers, where no stages fit the devices in this
        order, and where two devices in succession are not connected.
        """
        names = first_devices(problem, self.stages)
        graph = problem.graph
        whole = graph.stage_param_bytes(0, len(graph)) + graph.stage_peak_bytes(0, len(graph))
        sizes = ", ".join(f"{name} ({size_text(problem.fleet.by_name[name].memory_bytes)})" for name in names)
        bounds = least_bottleneck(np.stack([_stage_s(problem, name) for name in names]))
        require(
            len(bounds) > 0,
            f"fleet.devices.*.memory_bytes: no {len(names)} stages of {graph.name} fit {sizes}, in this "
            f"order; the whole model as one stage needs {size_text(whole)}",
        )
        plan = problem.plan(bounds, names)
        require_connected(problem, plan)
        return plan


def least_bottleneck(stage_s: Floats) -> list[int]:
    """The K + 1 bounds of K stages over L layers whose largest time is least; empty where none is finite.

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


def _stage_s(problem: Problem, device: str) -> Floats:
    """(L + 1, L + 1): Profile.stage_s of layers[b:e], infinite where e <= b or the stage does not fit."""
    graph, profile = problem.graph, problem.profile
    cumulative_s = profile.cumulative_s(device)
    stage_s = cumulative_s - cumulative_s[:, None] + profile.task_s(device)
    need_bytes = graph.stage_param_bytes_table() + graph.stage_peak_bytes_table()
    upward = np.triu(np.ones(stage_s.shape, dtype=bool), 1)
    fits = need_bytes <= problem.fleet.by_name[device].memory_bytes
    return np.where(upward & fits, stage_s, np.inf)
