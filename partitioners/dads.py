"""DADS: the split of a model's graph between two devices with the least latency, by a minimum cut. Pure.

Source: Hu et al., "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge", INFOCOM 2019, the
algorithm for a light load; the one for a heavy load, which maximises throughput, is not implemented. As with
the other partitioners, the output stays on the device that computes it, and plans must fit the devices'
memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from partitioners.settings import local_and_remote
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Link
from pipeline.domain.plan import Plan
from pipeline.network.compression import compressed_bytes
from pipeline.network.layer import Flow
from pipeline.planning.cost import predict
from pipeline.planning.problem import Problem

PER_S = 1e12
"""Capacities are whole picoseconds, so that the cut is exact."""

LOCAL, REMOTE = "local", "remote"


@dataclass(frozen=True)
class Dads:
    """Some layers on `local`, the rest on `remote`. The local ones need not be the first layers of the chain.

    Requests arrive at `local`. See `partitioners.settings.local_and_remote` for the defaults.
    """

    local: str | None = None
    remote: str | None = None

    def partition(self, problem: Problem) -> Plan:
        """The fastest of the minimum cut and two unsplit plans that fits memory; if equal, an unsplit one.

        The minimum cut includes the seconds of its layers and tensors. Link latency, dispatch and starts of
        stages are the same for every cut; only the comparison with the unsplit plans includes them. Raises
        ConfigError if no plan fits.
        """
        local, remote = local_and_remote(problem, self.local, self.remote)
        layers = tuple(range(len(problem.graph)))
        whole = (0, len(layers))
        candidates: list[tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...]]] = [(whole, (local,), ())]
        link = None if remote is None else problem.fleet.link(local, remote)
        if remote is not None and link is not None:
            candidates.append((whole, (remote,), ()))
            for kept in _least_cuts(problem, local, remote, link):
                order = (*sorted(kept), *(layer for layer in layers if layer not in kept))
                if len(kept) < len(layers):
                    bounds = (0, len(kept), len(layers))
                    candidates.append((bounds, (local, remote), () if order == layers else order))
        plans, misfits = [], []
        for candidate in candidates:
            try:
                plans.append(problem.plan(*candidate))
            except ConfigError as error:
                misfits.append(str(error))
        if not plans:
            raise ConfigError(f"partitioner: neither the least cut nor an unsplit plan fits; {misfits[-1]}")
        here = replace(problem, fleet=replace(problem.fleet, source=local))
        return plans[int(predict(here, plans).latency_s.argmin())]


def _least_cuts(problem: Problem, local: str, remote: str, link: Link) -> list[frozenset[int]]:
    """Sets of layers to keep local: for each layer that needs no other layer, the best set that contains it.

    One of them is therefore the best of all sets except the empty one. That is the unsplit plan on `remote`,
    which sends the input uncompressed. Almost every model has a single such layer.
    """
    network = _flow_network(problem, local, remote, link)
    cuts = []
    for first in range(len(problem.graph)):
        if any(isinstance(needed, int) for needed in network[first]):
            continue
        forced = network.copy()
        forced.add_edge(LOCAL, first)
        del forced.edges[LOCAL, first]["capacity"]
        _, (kept, _) = nx.minimum_cut(forced, LOCAL, REMOTE)
        cuts.append(frozenset(node for node in kept if isinstance(node, int)))
    return cuts


def _flow_network(problem: Problem, local: str, remote: str, link: Link) -> nx.DiGraph:
    """The network in which the capacity of a cut is the time of its layers and tensors, in seconds * PER_S.

    Its nodes are LOCAL, REMOTE, the layers by index and the tensors by name. An edge from layer to layer
    means that the first needs the second, so that it cannot be local while the second is remote.
    """
    network = nx.DiGraph()
    # Cutting layer -> REMOTE means that the layer runs on the local device, and costs its seconds there;
    # cutting LOCAL -> layer likewise means that it runs on the remote one.
    sides = (np.diff(problem.profile.cumulative_s(name)).tolist() for name in (local, remote))
    for layer, (local_s, remote_s) in enumerate(zip(*sides, strict=True)):
        network.add_edge(layer, REMOTE, capacity=round(local_s * PER_S))
        network.add_edge(LOCAL, layer, capacity=round(remote_s * PER_S))
    ends = {-1: LOCAL, len(problem.graph): REMOTE}
    for flow in problem.graph.flows():
        # Each tensor has its own node, so that it is sent once, however many layers use it. An edge
        # without capacity is infinite: once the tensor is sent, all its consumers may be remote, and nothing
        # is sent back.
        producer, tensor = ends.get(flow.producer, flow.producer), f"tensor {flow.tensor.name}"
        sent_s = _sent_s(problem, flow, local, remote, link)
        network.add_edge(producer, tensor, capacity=round(sent_s * PER_S))
        for layer in flow.consumers:
            network.add_edge(tensor, ends.get(layer, layer))
            if layer not in ends and flow.producer not in ends:
                network.add_edge(layer, flow.producer)
    network.add_edges_from((after, before) for before, after in problem.graph.hazards())
    return network


def _sent_s(problem: Problem, flow: Flow, local: str, remote: str, link: Link) -> float:
    """Seconds that a tensor adds to a transfer: on the link, for encoding and for decoding."""
    num_bytes = [0, flow.tensor.num_bytes]
    encode_s = np.diff(problem.profile.encode_s(local, problem.compression, num_bytes)).item()
    decode_s = np.diff(problem.profile.decode_s(remote, problem.compression, num_bytes)).item()
    sent_bytes = compressed_bytes([flow.tensor], problem.compression)
    return float(encode_s + sent_bytes / link.bandwidth_bytes_per_s + decode_s)
