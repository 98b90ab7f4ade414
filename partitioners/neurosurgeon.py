"""Neurosurgeon: the best single cut of the chain between two devices, or an unsplit plan. Pure.

Source: Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge", ASPLOS
2017, Algorithm 1: the candidates have the layers up to a cut on the mobile device and the rest in the cloud,
and the one with the least latency or energy is chosen. Deviations: layer times come from the profile, not
from regressions by layer type; the cloud has no load factor; energy is that of the whole fleet, not of the
phone only; carbon is added as an objective; plans must fit the devices' memory; and every cut of the graph is
a candidate, with all tensors alive there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from partitioners.settings import local_and_remote
from pipeline.domain.checks import require
from pipeline.domain.plan import Plan
from pipeline.planning.cost import Tables
from pipeline.planning.problem import Problem

OBJECTIVES = ("latency_s", "energy_j", "carbon_g")


@dataclass(frozen=True)
class Neurosurgeon:
    """All layers on `local`, all on `remote`, or the first ones on `local` and the rest on `remote`.

    Requests arrive at `local`, so that the plan with all layers on `remote` includes sending the input. See
    `partitioners.settings.local_and_remote` for the defaults. Raises ConfigError for an unknown objective.
    """

    local: str | None = None
    remote: str | None = None
    objective: str = "latency_s"

    def __post_init__(self) -> None:
        require(
            self.objective in OBJECTIVES,
            f"partitioner.objective: must be one of {', '.join(OBJECTIVES)} (objective: {self.objective!r})",
        )

    def partition(self, problem: Problem) -> Plan:
        """The best candidate that fits memory and whose devices are connected; of equals an unsplit one.

        Raises ConfigError if no candidate fits, with the bytes that the nearest one lacks.
        """
        local, remote = local_and_remote(problem, self.local, self.remote)
        layers = len(problem.graph)
        candidates: list[tuple[tuple[int, ...], tuple[str, ...]]] = [((0, layers), (local,))]
        if remote is not None:
            candidates += [((0, layers), (remote,))]
            candidates += [((0, cut, layers), (local, remote)) for cut in range(1, layers)]
        tables = Tables.of(problem)
        index = {name: i for i, name in enumerate(tables.names)}
        tables = replace(tables, source=index[local])
        # An unsplit plan repeats the last bound: its second stage is empty, whatever its device.
        bounds = np.array([(*b, layers)[:3] for b, _ in candidates])
        where = np.array([[index[d[0]], index[d[-1]]] for _, d in candidates])
        cost = tables.cost(bounds, where)
        missing_bytes = (tables.memory_need_bytes(bounds, where) - tables.memory_bytes).max(axis=1)
        missing_bytes[~np.isfinite(cost.latency_s)] = np.inf
        require(
            missing_bytes.min() <= 0,
            f"memory_bytes: {problem.graph.name} does not fit {' and '.join(filter(None, (local, remote)))}, "
            f"split or not; the nearest plan is {missing_bytes.min() / 1e6:.1f} MB short",
        )
        values = np.where(missing_bytes <= 0, getattr(cost, self.objective), np.inf)
        return problem.plan(*candidates[int(values.argmin())])
