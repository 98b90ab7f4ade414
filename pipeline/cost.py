"""Plan x Profile x Fleet -> latency, energy, bytes, carbon. Pure; vectorised over plans of as many stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.domain import AUTO, ConfigError, Plan, Problem, require
from pipeline.ledger import carbon_g

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one request alone in the fleet, one entry a plan. Carbon is dynamic and network."""

    latency_s: Floats
    energy_j: Floats
    carbon_g: Floats
    transfer_bytes: Floats


def predict(problem: Problem, plans: Sequence[Plan]) -> Cost:
    """Cost of placed plans, all of the same number of stages.

    latency = sum over stages of (dispatch + transfer to its device + its time there)
    energy = sum over stages of active_w * time there + links' J/byte; idle energy depends on the load and is
    the ledger's. A link without energy counts as 0.
    Raises ConfigError for a stage left on auto or two devices without a link.
    """
    num_stages = plans[0].num_stages
    require(all(plan.num_stages == num_stages for plan in plans), "cost: plans must have equally many stages")
    for plan in plans:
        require(AUTO not in plan.devices, f"cost: every stage needs a device (devices: {plan.devices})")
    fleet = problem.fleet
    names = list(fleet.by_name)
    index = {name: i for i, name in enumerate(names)}
    bounds = np.array([plan.bounds for plan in plans])
    where = np.array([[index[name] for name in plan.devices] for plan in plans])

    cumulative = np.stack([problem.profile.cumulative_s(name) for name in names])
    active_w = np.array([device.active_w for device in fleet.devices])
    # Grams per joule on each device.
    g_per_j = np.array(
        [carbon_g(1.0, problem.intensity_g_per_kwh[name], fleet.by_name[name].pue) for name in names]
    )
    boundary = np.array([cut.num_bytes for cut in problem.graph.cuts], dtype=float)
    latency, per_byte, j_per_byte = _links(problem, names)

    start_s = np.array([problem.profile.task_s(name) for name in names])
    seconds = start_s[where] + cumulative[where, bounds[:, 1:]] - cumulative[where, bounds[:, :-1]]
    energy = seconds * active_w[where]
    source = np.full((len(plans), 1), len(names) if fleet.source is None else index[fleet.source])
    sender = np.concatenate([source, where[:, :-1]], axis=1)
    moved = np.where((sender == where) | (sender == len(names)), 0.0, boundary[bounds[:, :-1]])
    travel = latency[sender, where] + moved * per_byte[sender, where]
    if not np.isfinite(travel).all():
        plan, stage = np.argwhere(~np.isfinite(travel))[0]
        pair = f"{names[sender[plan, stage]]} and {names[where[plan, stage]]}"
        raise ConfigError(f"fleet.links: {pair} are not connected, and stage {stage} needs them to be")
    link_energy = moved * j_per_byte[sender, where]
    ends_g_per_j = 0.5 * (np.append(g_per_j, 0.0)[sender] + g_per_j[where])
    return Cost(
        latency_s=(problem.profile.dispatch_s + travel + seconds).sum(axis=1),
        energy_j=(energy + link_energy).sum(axis=1),
        carbon_g=(energy * g_per_j[where] + link_energy * ends_g_per_j).sum(axis=1),
        transfer_bytes=moved.sum(axis=1),
    )


def _links(problem: Problem, names: list[str]) -> tuple[Floats, Floats, Floats]:
    """Latency, seconds per byte and J per byte by (sender, receiver); the last sender is `nowhere`: free."""
    count = len(names)
    latency, per_byte, j_per_byte = (np.zeros((count + 1, count)) for _ in range(3))
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if i == j:
                continue
            link = problem.fleet.link(a, b)
            latency[i, j] = np.inf if link is None else link.latency_s
            if link is not None:
                per_byte[i, j] = 1 / link.bandwidth_bytes_per_s
                j_per_byte[i, j] = link.energy_j_per_byte or 0.0
    return latency, per_byte, j_per_byte
