"""DADS: the split of a network's graph between two devices with the least latency, by a minimum cut. Pure.

Source: Hu et al., "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge", INFOCOM 2019, its
form for a light load; that for a heavy load, which maximises throughput, is left out. The answer stays where
it is made, and plans must fit into memory; both as everywhere here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from partitioners.neurosurgeon import pair
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Link
from pipeline.domain.plan import Plan
from pipeline.network.compression import compressed_bytes
from pipeline.network.graph import Flow
from pipeline.planning.cost import predict
from pipeline.planning.problem import Problem

PER_S = 1e12
"""Capacities are whole picoseconds, so that the cut is exact."""

LOCAL, REMOTE = "local", "remote"


@dataclass(frozen=True)
class Dads:
    """Layers on `local` and all that needs them on `remote`; not a prefix of the chain where branches differ.

    Requests arise at `local`. See `partitioners.neurosurgeon.pair` for the defaults.
    """

    local: str | None = None
    remote: str | None = None

    def partition(self, problem: Problem) -> Plan:
        """The faster of the minimum cut and the two unsplit plans, of those that fit; of equals the unsplit.

        A cut counts what its layers and tensors take. The link's latency, the dispatch and the start of a
        stage come once, whatever the cut, and are what the comparison adds. Raises ConfigError where no plan
        fits.
        """
        local, remote = pair(problem, self.local, self.remote)
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
    """The layers to keep local: for each layer that waits for no other, the best set that holds it.

    So one of them is the best of all sets but the empty one, which is a plan of its own: it sends the input
    uncompressed. Almost every network has one such layer.
    """
    flows, hazards = problem.graph.flows(), problem.graph.hazards()
    waiting = {layer for _, layer in hazards}
    waiting |= {layer for flow in flows if flow.producer >= 0 for layer in flow.consumers}
    network = nx.DiGraph()
    # Cutting layer -> REMOTE means that the layer is local and takes its time there; LOCAL -> layer likewise.
    sides = (np.diff(problem.profile.cumulative_s(name)).tolist() for name in (local, remote))
    for layer, (local_s, remote_s) in enumerate(zip(*sides, strict=True)):
        network.add_edge(layer, REMOTE, capacity=round(local_s * PER_S))
        network.add_edge(LOCAL, layer, capacity=round(remote_s * PER_S))
    ends = {-1: LOCAL, len(problem.graph): REMOTE}
    for flow in flows:
        # A node for the tensor, so that it is sent once however many use it. No capacity means infinite:
        # with it sent all its consumers may be remote, and nothing comes back.
        producer, tensor = ends.get(flow.producer, flow.producer), f"tensor {flow.tensor.name}"
        sent_s = _sent_s(problem, flow, local, remote, link)
        network.add_edge(producer, tensor, capacity=round(sent_s * PER_S))
        for layer in flow.consumers:
            network.add_edge(tensor, ends.get(layer, layer))
            if layer not in ends and flow.producer not in ends:
                network.add_edge(layer, flow.producer)
    network.add_edges_from((after, before) for before, after in hazards)
    cuts = []
    for first in sorted(set(range(len(problem.graph))) - waiting):
        forced = network.copy()
        forced.add_edge(LOCAL, first)
        del forced.edges[LOCAL, first]["capacity"]
        _, (kept, _) = nx.minimum_cut(forced, LOCAL, REMOTE)
        cuts.append(frozenset(node for node in kept if isinstance(node, int)))
    return cuts


def _sent_s(problem: Problem, flow: Flow, local: str, remote: str, link: Link) -> float:
    """Seconds that a tensor adds to a transfer: its bytes on the link, and both ends' work per byte on it."""
    num_bytes = [0, flow.tensor.num_bytes]
    encode_s = np.diff(problem.profile.encode_s(local, problem.compression, num_bytes)).item()
    decode_s = np.diff(problem.profile.decode_s(remote, problem.compression, num_bytes)).item()
    sent_bytes = compressed_bytes([flow.tensor], problem.compression)
    return float(encode_s + sent_bytes / link.bandwidth_bytes_per_s + decode_s)
