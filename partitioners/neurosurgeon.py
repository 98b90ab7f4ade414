"""Neurosurgeon: the best single split of the chain between two devices, or none. Pure.

Source: Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge", ASPLOS
2017, Algorithm 1: the layers up to each candidate on the mobile device, the rest in the cloud, and the least
latency or energy of them all. Deviations: layer times come from the profile, not from regressions by layer
type; there is no load factor of the cloud; energy is the fleet's, the paper's the phone's alone; carbon is
ours; plans must fit into memory; and a profiled chain has a cut wherever the graph has one, with all tensors
alive there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.domain.checks import require
from pipeline.domain.plan import Plan
from pipeline.planning.cost import Tables
from pipeline.planning.problem import Problem

OBJECTIVES = ("latency_s", "energy_j", "carbon_g")


@dataclass(frozen=True)
class Neurosurgeon:
    """All on `local`, all on `remote`, or the first layers on `local` and the rest on `remote`.

    Requests arise at `local`, so that all on `remote` pays for sending the input. See `pair` for defaults.
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
        """The best candidate that is connected and fits memory; of equals the unsplit one.

        Raises ConfigError where none does, with how much is missing.
        """
        local, remote = pair(problem, self.local, self.remote)
        layers = len(problem.graph)
        candidates: list[tuple[tuple[int, ...], tuple[str, ...]]] = [((0, layers), (local,))]
        if remote is not None:
            candidates += [((0, layers), (remote,))]
            candidates += [((0, cut, layers), (local, remote)) for cut in range(1, layers)]
        tables = Tables.of(problem)
        index = {name: i for i, name in enumerate(tables.names)}
        tables = replace(tables, source=index[local])
        # An unsplit plan repeats the last bound; the device of its empty stage does not matter.
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


def pair(problem: Problem, local: str | None, remote: str | None) -> tuple[str, str | None]:
    """The two devices of a split; no remote one where the fleet has a single device.

    local: as given, else the fleet's source, else its `monolithic` device, else its first. remote: as given,
    else the fastest other device, one that is connected to `local` if there is any.
    Raises ConfigError for an unknown device or the same one twice.
    """
    fleet = problem.fleet
    for key, name in (("local", local), ("remote", remote)):
        if name is not None:
            fleet.require_device(f"partitioner.{key}", name)
    others = [name for name in fleet.by_name if name != remote]
    local = local or next((n for n in (fleet.source, fleet.monolithic) if n in others), None)
    if local is None:
        require(len(others) > 0, f"partitioner.remote: {remote} is the fleet's only device")
        local = others[0]
    require(local != remote, f"partitioner.remote: must not be the local device ({remote})")
    if remote is None and len(fleet.devices) > 1:
        remote = min(
            (name for name in fleet.by_name if name != local),
            key=lambda name: (
                fleet.link(local, name) is None,
                problem.profile.cumulative_s(name)[-1],
            ),
        )
    return local, remote
