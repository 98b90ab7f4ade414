"""Layers in another order: which orders keep the answer, and which are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.graph import Graph
from pipeline.network.layer import Flow
from tests.network.conftest import (
    MEMORY_SHARED,
    SMALL,
    Block,
    InPlaceResidual,
    OtherNames,
    Run,
    Tensors,
    direct,
    example,
    of,
    prepared,
    same,
    split,
    travelled,
)


class TwoBranches(nn.Module):
    """conv 0; relu in place 1 -> left: conv 2, right: sigmoid 3, conv 4, relu in place 5; add 6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu_()
        left = self.left(y)
        right = self.right(y.sigmoid()).relu_()
        z: Tensor = left + right
        return z


def needs(graph: Graph) -> set[tuple[int, int]]:
    flowing = {(flow.producer, consumer) for flow in graph.flows() for consumer in flow.consumers}
    return {(i, j) for i, j in flowing if i >= 0 and j < len(graph)} | set(graph.hazards())


def any_order(graph: Graph, rng: random.Random) -> list[int]:
    """The layers in a random order that keeps what each needs."""
    pairs, left, order = needs(graph), set(range(len(graph))), list[int]()
    while left:
        waiting = {j for i, j in pairs if i in left}
        order.append(rng.choice(sorted(left - waiting)))
        left.remove(order[-1])
    return order


def outputs_of(module: nn.Module, x: Tensor) -> Tensors:
    answer = module(x.clone())
    return answer if isinstance(answer, tuple) else (answer,)


def assert_cuts_follow_from_flows(graph: Graph) -> None:
    flows = graph.flows()
    for cut in graph.cuts:
        crossing = [f.tensor for f in flows if f.producer < cut.index <= f.consumers[-1]]
        assert set(crossing) == set(cut.tensors)
        assert sum(tensor.num_bytes for tensor in crossing) == cut.num_bytes


@pytest.mark.parametrize("run", [direct, travelled])
def test_a_stage_may_be_one_branch(run: Run) -> None:
    module, graph, x = of(TwoBranches())
    ops = ["conv2d", "relu_", "conv2d", "sigmoid", "conv2d", "relu_", "add"]
    assert [layer.op for layer in graph.layers] == ops
    order = (0, 1, 3, 4, 5, 2, 6)  # the right branch before the left
    other = graph.reordered(order)
    assert [(layer.index, layer.name) for layer in other.layers] == [
        (k, graph.layers[layer].name) for k, layer in enumerate(order)
    ]
    assert [[spec.name for spec in cut.tensors] for cut in other.cuts] == [
        ["x"],
        ["conv2d"],
        ["relu_"],
        ["relu_", "sigmoid"],
        ["relu_", "conv2d_2"],
        ["relu_", "relu__1"],
        ["relu__1", "conv2d_1"],
        ["add"],
    ]
    maps = 4 * 8 * 8 * 4
    assert [layer.peak_bytes // maps for layer in graph.layers[1:]] == [1, 2, 3, 3, 2, 3]
    assert [layer.peak_bytes // maps for layer in other.layers[1:]] == [1, 2, 3, 2, 3, 3]
    assert other.stage_param_bytes(2, 5) == graph.stage_param_bytes(4, 5) == 4 * (16 + 4)
    for bounds in ((0, 2, 5, 7), range(8)):
        assert same(split(other, bounds, x, run), outputs_of(module, x))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*MEMORY_SHARED, TwoBranches, OtherNames]), st.randoms(use_true_random=False))
@pytest.mark.full
def test_every_allowed_order_gives_the_whole_models_answer_at_every_cut(
    kind: type[nn.Module], rng: random.Random
) -> None:
    module, graph, x = of(kind())
    other = graph.reordered(any_order(graph, rng))
    assert same(split(other, range(len(graph) + 1), x), outputs_of(module, x))
    bounds = sorted({0, len(graph), rng.randrange(len(graph)), rng.randrange(len(graph))})
    assert same(split(other, bounds, x), outputs_of(module, x))
    assert_cuts_follow_from_flows(other)


@pytest.mark.full
@settings(max_examples=100, deadline=None)
@given(st.sampled_from([InPlaceResidual, TwoBranches, OtherNames]), st.data())
def test_any_other_order_is_refused(kind: type[nn.Module], data: st.DataObject) -> None:
    _, graph, _ = of(kind())
    order = data.draw(st.permutations(range(len(graph))))
    if all(order.index(i) < order.index(j) for i, j in needs(graph)):
        assert len(graph.reordered(order)) == len(graph)
    else:
        with pytest.raises(ConfigError, match="must come after layer"):
            graph.reordered(order)


@pytest.mark.parametrize(
    "name",
    [
        "googlenet",
        pytest.param("swin_t", marks=pytest.mark.full),
        pytest.param("resnet50", marks=pytest.mark.full),
    ],
)
def test_real_models_in_another_order(name: str) -> None:
    model, graph = prepared(name, SMALL)
    other = graph.reordered(any_order(graph, random.Random(0)))
    assert [layer.name for layer in other.layers] != [layer.name for layer in graph.layers]
    x = example(SMALL)
    assert same(split(other, range(len(graph) + 1), x), (model(x),))
    assert_cuts_follow_from_flows(other)
    assert [layer.eq5_cost for layer in other.layers] != [layer.eq5_cost for layer in graph.layers]
    assert other.stage_param_bytes(0, len(other)) == graph.stage_param_bytes(0, len(graph))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ((1, 0, 2, 3, 4), r"layer 1 \(relu_\) of it must come after layer 0 \(mul\), whose result it needs"),
        ((0, 2, 1, 3, 4), r"layer 2 \(sigmoid\) of it must come after layer 1 \(relu_\), whose memory it sh"),
        ((0, 1, 3, 2, 4), r"layer 3 \(neg_\) of it must come after layer 2 \(sigmoid\), whose memory it sh"),
        ((0, 1, 2, 4, 3), r"layer 4 \(add\) of it must come after layer 3 \(neg_\), whose memory it shares"),
        ((0, 1, 2), r"order must hold each of the 5 layers of it once \(order: \(0, 1, 2\)\)"),
        ((0, 0, 1, 2, 3), "order must hold each of the 5 layers"),
        ((0, 1, 2, 3, 5), "order must hold each of the 5 layers"),
    ],
)
def test_orders_that_would_change_the_answer(order: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Graph.of(OtherNames().eval(), example(8), "it").reordered(order)


def test_flows_and_hazards_worked_by_hand() -> None:
    _, graph, _ = of(Block())
    image, maps, pooled, answer = 3 * 8 * 8 * 4, 4 * 8 * 8 * 4, 4 * 4, 2 * 4  # bytes of float32
    flows = [(f.tensor.name, f.producer, f.consumers, f.tensor.num_bytes) for f in graph.flows()]
    assert flows == [
        ("x", -1, (0,), image),
        ("conv2d", 0, (1,), maps),
        ("batch_norm", 1, (2,), maps),
        ("relu_", 2, (3, 4), maps),  # to the depthwise convolution and the sum
        ("conv2d_1", 3, (4,), maps),
        ("add", 4, (5,), maps),
        ("mean", 5, (6,), pooled),
        ("linear", 6, (7,), answer),
    ]
    assert graph.flows()[3] == Flow(graph.cuts[3].tensors[0], 2, (3, 4))
    assert graph.hazards() == ()  # what relu_ writes is read before by none, and after by its name alone


def test_hazards_worked_by_hand() -> None:
    _, graph, _ = of(OtherNames())
    assert [layer.name for layer in graph.layers] == ["mul", "relu_", "sigmoid", "neg_", "add"]
    # write-read, write-write, read-write, write-read; 1 before 4 follows from (1, 3) and (3, 4)
    assert graph.hazards() == ((1, 2), (1, 3), (2, 3), (3, 4))
    _, graph, _ = of(InPlaceResidual())
    assert graph.hazards() == ()  # its readers of y come after the write, and use what the write returns
