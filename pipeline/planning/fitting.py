"""Whether a plan is one for a run: for its network's layers, its fleet's devices, its compression. Pure."""

from __future__ import annotations

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.network.graph import Graph


def require_fits(
    owner: str, plan: Plan, graph: Graph, fleet: Fleet, compression: str, made_for: str = ""
) -> None:
    """Raise ConfigError unless a plan has a run's layers, its devices or auto, and, if cut, its compression.

    owner: whose plan it is, with which the line begins; made_for: how the line ends where the plan is for
    other layers or devices.
    """
    require_layers(owner, plan, graph, made_for)
    for device in dict.fromkeys(name for name in plan.devices if name != AUTO):
        try:
            fleet.require_device(owner, device)
        except ConfigError as error:
            raise ConfigError(f"{error}{made_for}") from error
    require(
        plan.num_stages == 1 or plan.compression == compression,
        f"{owner} has compression {plan.compression}, but this run has {compression}: choose "
        f"compression={plan.compression}",
    )


def require_layers(owner: str, plan: Plan, graph: Graph, made_for: str = "") -> None:
    """Raise ConfigError unless the plan's last stage ends with the network's last layer."""
    layers = plan.bounds[-1]
    same = layers == len(graph)
    require(same, f"{owner} has {layers} layers, but {graph.name} has {len(graph)}{made_for}")
