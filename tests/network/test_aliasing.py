"""Values share memory as in a run on real data, and the sets are those of naive merging."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from pipeline.network.aliasing import Values, _returnable, may_share
from pipeline.network.export import export
from tests.network.conftest import (
    MEMORY_SHARED,
    MODELS,
    SMALL,
    ChannelsLast,
    example,
    prepared,
)


class Witness(fx.Interpreter):
    """What a run on real data shows: each value's shape and dtype, and the memory that it lies in."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)  # an address stands for one storage
        self.kept: dict[fx.Node, Any] = {}
        self.shapes: dict[fx.Node, tuple[torch.Size, torch.dtype]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = self.kept[n] = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = value.shape, value.dtype
        return value

    def storages(self, node: fx.Node) -> dict[int, int]:
        value = self.kept[node]
        items = value if isinstance(value, list | tuple) else [value]
        storages = [item.untyped_storage() for item in items if isinstance(item, Tensor)]
        return {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes() > 0}


def assert_noted_as_it_really_is(model: nn.Module, x: Tensor) -> int:
    """Returns how many pairs of argument and result were seen to share memory."""
    exported = export(model, x, "it")
    noted = Values.of(exported.graph)
    real = Witness(exported)
    with torch.no_grad():
        real.run(x.clone())
    nodes = [node for node in exported.graph.nodes if node.op != "output"]
    assert noted.specs.keys() & set(nodes) == real.shapes.keys() & set(nodes)
    sharing = 0
    for node in nodes:
        if node in noted.specs:
            spec, (shape, dtype) = noted.specs[node], real.shapes[node]
            assert (spec.shape, f"torch.{spec.dtype}") == (tuple(shape), str(dtype)), node
            assert spec.num_bytes == shape.numel() * dtype.itemsize
        assert sorted(noted.storages[node].values()) == sorted(real.storages(node).values()), node
        for argument in node.all_input_nodes:
            shared = bool(real.storages(node).keys() & real.storages(argument).keys())
            assert bool(noted.storages[node].keys() & noted.storages[argument].keys()) == shared, node
            sharing += shared
    return sharing


@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_sharing_noted_at_export_are_those_of_a_run(name: str) -> None:
    model, _ = prepared(name, SMALL)
    assert assert_noted_as_it_really_is(model, example(SMALL)) > 0


@pytest.mark.parametrize("kind", [*MEMORY_SHARED, ChannelsLast])
def test_shapes_and_sharing_by_hand_are_those_of_a_run(kind: type[nn.Module]) -> None:
    assert assert_noted_as_it_really_is(kind().eval().requires_grad_(False), example(8)) > 0


class Dropouts(nn.Module):
    """The first two return their argument, the third does not."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.dropout(x * 2, 0.5, training=False)
        z = nn.functional.dropout(x * 3, 0.0, training=True)
        return y + z + nn.functional.dropout(x * 4, 0.5, training=True)


def test_dropout_in_eval_mode_is_its_argument() -> None:
    assert assert_noted_as_it_really_is(Dropouts().eval(), example(8)) == 2


def assert_sets_are_those_of_naive_merging(model: nn.Module, x: Tensor) -> None:
    exported = export(model, x, "it")
    values = Values.of(exported.graph)
    calls = [node for node in exported.graph.nodes if node.op == "call_function"]
    expected: list[set[fx.Node]] = []
    for node in calls:
        storages = values.storages[node].keys()
        seen = [arg for arg in node.all_input_nodes if storages & values.storages[arg].keys()]
        for arg in (*seen, *_returnable(node)):
            touching = [group for group in expected if group & {node, arg}]
            rest = [group for group in expected if not group & {node, arg}]
            expected = [*rest, {node, arg}.union(*touching)]
    sets = may_share(values, calls)
    found: dict[fx.Node, set[fx.Node]] = {}
    for node in exported.graph.nodes:
        found.setdefault(sets[node], set()).add(node)
    assert len(expected) > 0
    assert {frozenset(group) for group in found.values() if len(group) > 1} == set(map(frozenset, expected))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        pytest.param("resnet50", marks=pytest.mark.full),
        pytest.param("swin_t", marks=pytest.mark.full),
    ],
)
def test_sets_of_nodes_that_may_share_memory(name: str) -> None:
    assert_sets_are_those_of_naive_merging(prepared(name, SMALL)[0], example(SMALL))


@pytest.mark.parametrize("kind", MEMORY_SHARED)
def test_sets_of_nodes_that_may_share_memory_by_hand(kind: type[nn.Module]) -> None:
    assert_sets_are_those_of_naive_merging(kind().eval().requires_grad_(False), example(8))
