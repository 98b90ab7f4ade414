"""Stages hold what they use and nothing else, and their figures are those worked out by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.stage_program import program
from tests.network.conftest import (
    MODELS,
    SMALL,
    Block,
    ChannelsLast,
    InPlaceResidual,
    of,
    prepared,
    same,
)


@pytest.mark.parametrize("name", MODELS)
def test_stages_hold_their_own_parameters_and_no_others(name: str) -> None:
    model, graph = prepared(name, SMALL)
    third = len(graph) // 3
    stages = [graph.stage(b, e) for b, e in pairwise((0, third, 2 * third, len(graph)))]
    held = [{key: value.numel() for key, value in stage.named_parameters()} for stage in stages]
    assert held[0].keys() | held[1].keys() | held[2].keys() == dict(model.named_parameters()).keys()
    assert sum(sum(part.values()) for part in held) == sum(p.numel() for p in model.parameters())
    bytes_held = [sum(t.nbytes for t in stage.state_dict().values()) for stage in stages]
    assert bytes_held[1] == graph.stage_param_bytes(third, 2 * third)
    assert max(bytes_held) < sum(p.nbytes for p in model.parameters())


def test_figures_worked_by_hand() -> None:
    _, graph, _ = of(Block())
    image, maps, pooled, answer = 3 * 8 * 8 * 4, 4 * 8 * 8 * 4, 4 * 4, 2 * 4  # bytes of float32
    table = [
        (layer.op, layer.eq5_cost, layer.param_bytes, layer.peak_bytes, graph.cuts[layer.index + 1].num_bytes)
        for layer in graph.layers
    ]
    assert table == [
        ("conv2d", 3 * 3 * 3 * 4, 4 * 108, image + maps, maps),
        ("batch_norm", 4 + 4, 4 * 16, 2 * maps, maps),  # weight, bias; bytes with running mean and variance
        ("relu_", 0, 0, maps, maps),  # in place
        ("conv2d_depthwise", 3 * 3 * 4 * 4, 4 * (36 + 4), 2 * maps, 2 * maps),  # the residual is alive too
        ("add", 0, 0, 3 * maps, maps),
        ("mean", 0, 0, maps + pooled, pooled),
        ("linear", 4 * 2, 4 * (8 + 2), pooled + answer, answer),
    ]
    assert graph.cuts[0].num_bytes == image
    assert [len(cut.tensors) for cut in graph.cuts] == [1, 1, 1, 1, 2, 1, 1, 1]
    assert [spec.name for spec in graph.cuts[4].tensors] == ["relu_", "conv2d_1"]
    assert graph.cuts[4].tensors[0].shape == (1, 4, 8, 8)
    assert graph.cuts[4].tensors[0].dtype == "float32"
    assert graph.stage_peak_bytes(0, 3) == 2 * maps
    assert graph.stage_peak_bytes(0, len(graph)) == 3 * maps
    assert graph.stage_param_bytes(1, 4) == 4 * (16 + 40)
    own = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    own |= {"depthwise.weight", "depthwise.bias"}
    assert graph.stage(1, 4).state_dict().keys() == own == program(graph.stage(1, 4))[1].keys()


def test_stages_keep_strides() -> None:
    model, graph, x = of(ChannelsLast())
    (middle,) = graph.stage(0, 2)(x)
    assert [layer.op for layer in graph.layers[:2]] == ["conv2d", "permute"]
    assert middle.stride() == (4 * 8 * 8, 8, 1, 8 * 8)  # (1, 4, 8, 8) seen as (1, 8, 8, 4), not copied
    assert same(graph.stage(2, len(graph))(middle), (model(x),))


def test_a_stage_copies_only_inputs_that_it_writes_to() -> None:
    _, graph, x = of(InPlaceResidual())
    for layer in graph.layers:
        stage = graph.stage(layer.index, layer.index + 1)
        copies = any("slice_scatter" in str(node.target) for node in stage.graph.nodes)
        assert copies == (layer.op == "relu_")
    whole = graph.stage(0, len(graph))
    assert same(whole(x), whole(x))


# --- tables of all stages -------------------------------------------------------------------------


class Shared(nn.Module):
    """Layers 0, 1 and 3 share a convolution; layer 2 has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.own = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shared(self.own(self.shared(self.shared(x))))
        return y


def test_parameters_that_layers_share_count_once_in_a_stage() -> None:
    _, graph, _ = of(Shared())
    shared, own = 4 * (9 + 3), 4 * 9
    both = shared + own
    assert graph.stage_param_bytes_table().tolist() == [
        [0, shared, shared, both, both],
        [0, 0, shared, both, both],
        [0, 0, 0, own, both],
        [0, 0, 0, 0, shared],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "googlenet", pytest.param("swin_t", marks=pytest.mark.full)]
)
def test_tables_are_the_figures_of_every_stage(name: str) -> None:
    _, graph = prepared(name, SMALL)
    count = len(graph)
    pairs = [(b, e) for b in range(count) for e in range(b + 1, count + 1)]
    for table, figure in (
        (graph.stage_param_bytes_table(), graph.stage_param_bytes),
        (graph.stage_peak_bytes_table(), graph.stage_peak_bytes),
    ):
        assert table.shape == (count + 1, count + 1)
        assert table.dtype == np.float64
        assert not np.tril(table).any()
        for begin, end in random.Random(0).sample(pairs, 1000):
            assert table[begin, end] == figure(begin, end)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (3, 2), (-1, 2), (0, 8), (7, 8)])
def test_a_stage_out_of_range(begin: int, end: int) -> None:
    _, graph, _ = of(Block())
    for method in (graph.stage, graph.stage_param_bytes, graph.stage_peak_bytes):
        with pytest.raises(ConfigError, match=rf"Block needs 0 <= .* <= 7 \(begin: {begin}, end: {end}\)"):
            method(begin, end)
