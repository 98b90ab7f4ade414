"""The best set of layers for one of two devices, by hand and by brute force."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from partitioners.dads import Dads
from pipeline.domain.plan import Plan
from pipeline.network.graph import Graph
from pipeline.planning.cost import predict
from tests.partitioners.conftest import (
    GRAPHS,
    arising_at,
    phone_and_cloud,
    random_pair,
    timed,
)


def closed_sets(graph: Graph) -> list[frozenset[int]]:
    """Every set of layers that needs nothing outside it, the whole and the empty one included."""
    pairs = {(flow.producer, layer) for flow in graph.flows() for layer in flow.consumers}
    before = [(i, j) for i, j in pairs | set(graph.hazards()) if i >= 0 and j < len(graph)]
    subsets = (frozenset(c) for size in range(len(graph) + 1) for c in combinations(range(len(graph)), size))
    return [kept for kept in subsets if all(i in kept for i, j in before if j in kept)]


def cut_plan(graph: Graph, kept: frozenset[int], local: str, remote: str, compression: str) -> Plan:
    rest = [layer for layer in range(len(graph)) if layer not in kept]
    if not kept or not rest:
        return Plan((0, len(graph)), (local if kept else remote,), compression=compression)
    return Plan((0, len(kept), len(graph)), (local, remote), (*sorted(kept), *rest), compression)


@pytest.mark.parametrize("compression", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", GRAPHS)
def test_dads_is_the_best_of_all_closed_sets(kind: str, compression: str) -> None:
    graph = GRAPHS[kind]
    for seed in range(10):
        problem = random_pair(graph, seed, compression)
        plan = Dads("a", "b").partition(problem)
        plans = [cut_plan(graph, kept, "a", "b", compression) for kept in closed_sets(graph)]
        here = arising_at(problem, "a")
        best_s, found_s = predict(here, plans).latency_s.min(), predict(here, [plan]).latency_s[0]
        assert found_s == pytest.approx(best_s, abs=1e-10)


def test_dads_cuts_where_no_chain_could() -> None:
    """Both pools on the phone, both branches in the cloud: 64 bytes each way to send instead of 1024."""
    problem = phone_and_cloud()
    plan = Dads("phone", "cloud").partition(problem)
    assert plan == Plan((0, 3, 6), ("phone", "cloud"), (0, 1, 3, 2, 4, 5))
    # Layers and start on the phone, 128 bytes, the same in the cloud: 1.2 + .5, 2, 1.21 + .5 = 5.41 ms; the
    # best chain, by hand in test_neurosurgeon.py, takes 7.21 ms.
    assert predict(arising_at(problem, "phone"), [plan]).latency_s[0] == pytest.approx(5.41e-3)
    # The plan runs, and gives the whole model's answer.
    graph = problem.along(plan).graph
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (whole,) = problem.graph.stage(0, 6)(x)
    crossing = graph.stage(0, 3)(x)
    (split,) = graph.stage(3, 6)(*crossing)
    assert torch.equal(whole, split)
    assert whole.std() > 0
    # These run as well and must give another answer: the two pools exchanged, the same layers numbered in the
    # model's own order, and tensors of which each number is the next that a float32 can be.
    above = [torch.nextafter(tensor, torch.tensor(torch.inf)) for tensor in crossing]
    for wrong_stage, given_tensors in (
        (graph.stage(3, 6), crossing[::-1]),
        (problem.graph.stage(3, 6), crossing),
        (graph.stage(3, 6), above),
    ):
        (wrong,) = wrong_stage(*given_tensors)
        assert wrong.shape == whole.shape
        assert not torch.equal(whole, wrong)


def test_dads_sends_a_tensor_of_two_users_once() -> None:
    """The stem's 16 ms once are less than pooling on the phone, 20 + 2 ms; twice they would be more."""
    layer_s = {
        "phone": [1e-3, 10e-3, 2e-3, 10e-3, 10e-3, 1e-4],
        "cloud": [20e-3, 1e-3, 2e-4, 1e-3, 1e-3, 1e-4],
    }
    problem = timed(GRAPHS["Fork"], phone_and_cloud().fleet, layer_s)
    plan = Dads("phone", "cloud").partition(problem)
    assert plan == Plan((0, 1, 6), ("phone", "cloud"))
    # 1 + .5, 16, 3.3 + .5 = 21.3 ms. With both pools on the phone 21 + .5, 2, 1.3 + .5 = 25.3 ms, all there
    # 33.1 + .5 = 33.6 ms, all in the cloud 12, 23.3 + .5 = 35.8 ms.
    assert predict(arising_at(problem, "phone"), [plan]).latency_s[0] == pytest.approx(21.3e-3)
