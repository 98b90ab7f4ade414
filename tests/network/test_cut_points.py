"""Splitting a model at a cut point must not change its answer by one bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from torch import nn

from pipeline.network.graph import Graph
from tests.conftest import EXHAUSTIVE
from tests.network.conftest import (
    MEMORY_SHARED,
    MODELS,
    SMALL,
    HiddenAlias,
    Run,
    direct,
    example,
    inner_cuts,
    of,
    prepared,
    same,
    split,
    travelled,
)

MOST_CUTS = 20
"""Cuts of a model tried, unless the tests are exhaustive."""


@pytest.mark.parametrize("name", MODELS)
def test_every_cut_gives_the_whole_models_answer(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = example(SMALL)
    whole = (model(x),)
    cuts = inner_cuts(graph, MOST_CUTS)
    wrong = [k for k in cuts if not same(split(graph, (0, k, len(graph)), x), whole)]
    assert wrong == []


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_all_cuts_give_the_whole_models_answer(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = example(SMALL)
    whole = (model(x),)
    wrong = [k for k in inner_cuts(graph) if not same(split(graph, (0, k, len(graph)), x), whole)]
    assert wrong == []


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_every_cut_gives_the_whole_models_answer_at_full_size(name: str) -> None:
    model, graph = prepared(name, 224)
    x = example(224)
    whole = (model(x),)
    cuts = inner_cuts(graph, None if EXHAUSTIVE else MOST_CUTS)
    wrong = [k for k in cuts if not same(split(graph, (0, k, len(graph)), x), whole)]
    prepared.cache_clear()
    assert wrong == []


@pytest.mark.parametrize("run", [direct, travelled])
@pytest.mark.parametrize("name", MODELS)
def test_plans_of_three_and_four_stages(name: str, run: Run) -> None:
    model, graph = prepared(name, SMALL)
    rng = random.Random(name)
    whole = {seed: (model(example(SMALL, seed)),) for seed in range(2)}
    for stages in (3, 4):
        bounds = (0, *sorted(rng.sample(inner_cuts(graph), stages - 1)), len(graph))
        for seed, answer in whole.items():
            assert same(split(graph, bounds, example(SMALL, seed), run), answer), bounds


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_not_degenerate(name: str) -> None:
    model, _ = prepared(name, SMALL)
    one, two = model(example(SMALL, 0)), model(example(SMALL, 1))
    assert one.std() > 1e-3
    assert (one - two).abs().max() > 1e-3


def skippable(graph: Graph) -> list[int]:
    """Layers that a wrong split could leave out unnoticed by shapes, though they do something."""
    idle = {"dropout", "contiguous", "reshape", "view", "fill_", "lift_fresh_copy"}

    def shapes(index: int) -> list[tuple[Any, ...]]:
        return [(spec.shape, spec.dtype) for spec in graph.cuts[index].tensors]

    return [k for k in inner_cuts(graph) if shapes(k) == shapes(k + 1) and graph.layers[k].op not in idle]


@pytest.mark.parametrize("name", MODELS)
def test_negative_control_a_skipped_layer_is_noticed(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = example(SMALL)
    layers = random.Random(0).sample(skippable(graph), 12)
    for k in layers:
        middle = direct(graph, 0, k, (x,))
        assert not same(direct(graph, k + 1, len(graph), middle), (model(x),)), graph.layers[k]


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        pytest.param("efficientnet_b0", marks=pytest.mark.full),
        pytest.param("resnet50", marks=pytest.mark.full),
    ],
)
def test_negative_control_a_permuted_boundary_is_noticed(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = example(SMALL)

    def swappable(k: int) -> bool:
        shapes = [spec.shape for spec in graph.cuts[k].tensors]
        return len(shapes) == 2 and shapes[0] == shapes[1] and graph.layers[k].op == "batch_norm"

    k = next(filter(swappable, inner_cuts(graph)))
    first, second = direct(graph, 0, k, (x,))
    assert same(direct(graph, k, len(graph), (first, second)), (model(x),))
    assert not same(direct(graph, k, len(graph), (second, first)), (model(x),))


@pytest.mark.parametrize("kind", MEMORY_SHARED)
@pytest.mark.parametrize("run", [direct, travelled])
def test_every_cut_and_pair_of_cuts_with_memory_shared(kind: type[nn.Module], run: Run) -> None:
    module, graph, x = of(kind())
    answer = module(x.clone())
    whole = answer if isinstance(answer, tuple) else (answer,)
    assert len(graph) > 1
    for i in range(1, len(graph)):
        assert same(split(graph, (0, i, len(graph)), x, run), whole)
        for j in range(i + 1, len(graph)):
            assert same(split(graph, (0, i, j, len(graph)), x, run), whole)


def test_swin_s_mask_in_the_making_may_be_cut_where_only_one_name_of_it_is_alive() -> None:
    _, graph = prepared("swin_t", SMALL)
    assert sum(layer.op == "fill_" for layer in graph.layers) == 18
    for cut in graph.cuts:
        assert not {"slice_3", "new_zeros"} <= {spec.name for spec in cut.tensors}


def test_no_cut_where_two_alive_names_share_memory_that_changes() -> None:
    _, graph, _ = of(HiddenAlias())
    assert [layer.op for layer in graph.layers] == ["mul", "relu_", "add"]  # dropout, sigmoid, relu_ in one
    alive = [[spec.name for spec in cut.tensors] for cut in graph.cuts]
    assert alive == [["x"], ["mul"], ["mul", "sigmoid"], ["add"]]
