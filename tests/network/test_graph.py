"""Splitting a model must not change its answer by one bit, and a layer's figures must be what hand gives."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, fx, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.aliasing import Values
from pipeline.network.graph import Flow, Graph, _export
from pipeline.network.models import ModelSpec
from pipeline.network.stage_program import from_program, program
from tests.conftest import ROOT

CONF = ROOT / "conf" / "model"
MODELS = (
    "mobilenet_v2",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "resnet50",
    "vit_b_16",
    "densenet121",
    "swin_t",
    "googlenet",
)
THINNED = dict.fromkeys(MODELS[2:], 20)
"""Cuts tried by default where all would take long; `-m full` tries all."""
SMALL = 64
"""Pixels on a side in the default suite."""

Tensors = tuple[Tensor, ...]
Run = Callable[[Graph, int, int, Tensors], Tensors]


def picture(size: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on busy cores wait for each other: the full suite then takes several times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def prepared(name: str, size: int) -> tuple[nn.Module, Graph]:
    spec = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    options = {"image_size": size} if name == "vit_b_16" else spec.options
    model = dataclasses.replace(spec, input_size=size, options=options).build()
    return model, Graph.of(model, picture(size), name)


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Equal to the last bit: the comparison that every test here makes, negative controls included."""
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def direct(graph: Graph, begin: int, end: int, inputs: Tensors) -> Tensors:
    return tuple(graph.stage(begin, end)(*inputs))


def travelled(graph: Graph, begin: int, end: int, inputs: Tensors) -> Tensors:
    """A stage as another process gets it: JSON text and tensors by name."""
    description, tensors = program(graph.stage(begin, end))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return tuple(from_program(json.loads(json.dumps(description)), copies)(*inputs))


def split(graph: Graph, bounds: Sequence[int], x: Tensor, run: Run = direct) -> Tensors:
    values: Tensors = (x,)
    for begin, end in pairwise(bounds):
        before = [value.clone() for value in values]
        after = run(graph, begin, end, values)
        assert same(values, before), f"layers[{begin}:{end}] wrote to its inputs"
        values = after
    return values


def inner_cuts(graph: Graph, at_most: int | None = None) -> list[int]:
    cuts = list(range(1, len(graph)))
    return cuts if at_most is None or len(cuts) <= at_most else sorted(random.Random(0).sample(cuts, at_most))


# --- real models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_cut_gives_the_whole_models_answer(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = picture(SMALL)
    whole = (model(x),)
    cuts = inner_cuts(graph, THINNED.get(name))
    wrong = [k for k in cuts if not same(split(graph, (0, k, len(graph)), x), whole)]
    assert wrong == []


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_every_cut_gives_the_whole_models_answer_at_full_size(name: str) -> None:
    model, graph = prepared(name, 224)
    x = picture(224)
    whole = (model(x),)
    wrong = [k for k in inner_cuts(graph) if not same(split(graph, (0, k, len(graph)), x), whole)]
    prepared.cache_clear()
    assert wrong == []


@pytest.mark.parametrize("run", [direct, travelled])
@pytest.mark.parametrize("name", MODELS)
def test_plans_of_three_and_four_stages(name: str, run: Run) -> None:
    model, graph = prepared(name, SMALL)
    rng = random.Random(name)
    whole = {seed: (model(picture(SMALL, seed)),) for seed in range(2)}
    for stages in (3, 4):
        bounds = (0, *sorted(rng.sample(inner_cuts(graph), stages - 1)), len(graph))
        for seed, answer in whole.items():
            assert same(split(graph, bounds, picture(SMALL, seed), run), answer), bounds


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_not_degenerate(name: str) -> None:
    model, _ = prepared(name, SMALL)
    one, two = model(picture(SMALL, 0)), model(picture(SMALL, 1))
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
    x = picture(SMALL)
    layers = random.Random(0).sample(skippable(graph), 12)
    for k in layers:
        middle = direct(graph, 0, k, (x,))
        assert not same(direct(graph, k + 1, len(graph), middle), (model(x),)), graph.layers[k]


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "resnet50"])
def test_negative_control_a_permuted_boundary_is_noticed(name: str) -> None:
    model, graph = prepared(name, SMALL)
    x = picture(SMALL)

    def swappable(k: int) -> bool:
        shapes = [spec.shape for spec in graph.cuts[k].tensors]
        return len(shapes) == 2 and shapes[0] == shapes[1] and graph.layers[k].op == "batch_norm"

    k = next(filter(swappable, inner_cuts(graph)))
    first, second = direct(graph, 0, k, (x,))
    assert same(direct(graph, k, len(graph), (first, second)), (model(x),))
    assert not same(direct(graph, k, len(graph), (second, first)), (model(x),))


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


def test_mobilenet_v2_layers_and_the_paper_s_cost() -> None:
    _, graph = prepared("mobilenet_v2", SMALL)
    assert len(graph) == 153
    assert len(graph.cuts) == 154
    costs = {op: sum(x.eq5_cost for x in graph.layers if x.op == op) for op in {x.op for x in graph.layers}}
    share = costs["conv2d_depthwise"] / sum(costs.values())
    assert share == pytest.approx(0.92, abs=0.005)  # Eq. 5 leaves groups out: 6.9% of the multiply-adds
    assert costs["linear"] == 1280 * 1000
    assert costs["hardtanh_"] == costs["add"] == costs["dropout"] == 0


def test_swin_s_mask_in_the_making_may_be_cut_where_only_one_name_of_it_is_alive() -> None:
    _, graph = prepared("swin_t", SMALL)
    assert sum(layer.op == "fill_" for layer in graph.layers) == 18
    for cut in graph.cuts:
        assert not {"slice_3", "new_zeros"} <= {spec.name for spec in cut.tensors}


# --- by hand --------------------------------------------------------------------------------------


class Block(nn.Module):
    """conv 3->4, batch norm, relu in place, depthwise conv, + residual, mean, linear 4->2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(self.conv(x)))
        z: Tensor = self.head((y + self.depthwise(y)).mean((2, 3)))
        return z


def of(module: nn.Module, x: Tensor | None = None) -> tuple[nn.Module, Graph, Tensor]:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = picture(8) if x is None else x
    module = module.eval().requires_grad_(False)
    return module, Graph.of(module, x, type(module).__name__), x


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


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).permute(0, 2, 3, 1).relu_()
        return y + 1


# --- memory shared and written to -----------------------------------------------------------------


class InPlaceResidual(nn.Module):
    """y, changed in place between its two uses: both see the change."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y.relu_()
        return (y + 1) * z + y.sum()


class FilledSlice(nn.Module):
    """Writes to a slice: the whole changes by another name."""

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(1, 3, 8, 8)
        mask[..., 2:5].fill_(3.0)
        y = x + mask
        mask[..., :1].fill_(-1.0)
        return y * mask


class HiddenAlias(nn.Module):
    """Dropout in eval mode returns its argument, whatever its schema says: relu_ changes y as well."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z: Tensor = self.dropout(y)
        w = z.sigmoid()
        z.relu_()
        return y + w


class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x.view(-1).mul_(2)
        return y.exp() + x.flatten()


class Chunks(nn.Module):
    """A list of tensors between two layers, and one of them changed in place."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = x.mul(3).chunk(3, dim=1)
        b.add_(a)
        return torch.cat([c, b, a], dim=1)


class Branches(nn.Module):
    """Two outputs, one used twice, and a constant subgraph."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones(8, dtype=torch.int64).cumsum(0)
        y = x * ones
        return y.transpose(2, 3), y


MEMORY_SHARED = (InPlaceResidual, FilledSlice, HiddenAlias, WritesInput, Chunks, Branches, Block)


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


def test_no_cut_where_two_alive_names_share_memory_that_changes() -> None:
    _, graph, _ = of(HiddenAlias())
    assert [layer.op for layer in graph.layers] == ["mul", "relu_", "add"]  # dropout, sigmoid, relu_ in one
    alive = [[spec.name for spec in cut.tensors] for cut in graph.cuts]
    assert alive == [["x"], ["mul"], ["mul", "sigmoid"], ["add"]]


def test_a_stage_clones_only_inputs_that_it_writes_to() -> None:
    _, graph, x = of(InPlaceResidual())
    for layer in graph.layers:
        stage = graph.stage(layer.index, layer.index + 1)
        clones = any("clone" in str(node.target) for node in stage.graph.nodes)
        assert clones == (layer.op == "relu_")
    whole = graph.stage(0, len(graph))
    assert same(whole(x), whole(x))


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
    exported = _export(model, x, "it")
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
    assert assert_noted_as_it_really_is(model, picture(SMALL)) > 0


@pytest.mark.parametrize("kind", [*MEMORY_SHARED, ChannelsLast])
def test_shapes_and_sharing_by_hand_are_those_of_a_run(kind: type[nn.Module]) -> None:
    assert assert_noted_as_it_really_is(kind().eval().requires_grad_(False), picture(8)) > 0


class Dropouts(nn.Module):
    """The first two return their argument, the third does not."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.dropout(x * 2, 0.5, training=False)
        z = nn.functional.dropout(x * 3, 0.0, training=True)
        return y + z + nn.functional.dropout(x * 4, 0.5, training=True)


def test_dropout_in_eval_mode_is_its_argument() -> None:
    assert assert_noted_as_it_really_is(Dropouts().eval(), picture(8)) == 2


# --- layers in another order ----------------------------------------------------------------------


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


class OtherNames(nn.Module):
    """mul 0; write 1 by a name of its own (a slice, relu_), read 2, write 3 by another (neg_), read 4."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, :1].relu_()
        z = y.sigmoid()
        y[:, 1:].neg_()
        return y + z


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
def test_every_allowed_order_gives_the_whole_models_answer_at_every_cut(
    kind: type[nn.Module], rng: random.Random
) -> None:
    module, graph, x = of(kind())
    other = graph.reordered(any_order(graph, rng))
    assert same(split(other, range(len(graph) + 1), x), outputs_of(module, x))
    bounds = sorted({0, len(graph), rng.randrange(len(graph)), rng.randrange(len(graph))})
    assert same(split(other, bounds, x), outputs_of(module, x))
    assert_cuts_follow_from_flows(other)


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


@pytest.mark.parametrize("name", ["googlenet", "swin_t", "resnet50"])
def test_real_models_in_another_order(name: str) -> None:
    model, graph = prepared(name, SMALL)
    other = graph.reordered(any_order(graph, random.Random(0)))
    assert [layer.name for layer in other.layers] != [layer.name for layer in graph.layers]
    x = picture(SMALL)
    assert same(split(other, range(len(graph) + 1), x), (model(x),))
    assert_cuts_follow_from_flows(other)
    assert [layer.eq5_cost for layer in other.layers] != [layer.eq5_cost for layer in graph.layers]
    assert other.stage_param_bytes(0, len(other)) == graph.stage_param_bytes(0, len(graph))


def assert_cuts_follow_from_flows(graph: Graph) -> None:
    flows = graph.flows()
    for cut in graph.cuts:
        crossing = [f.tensor for f in flows if f.producer < cut.index <= f.consumers[-1]]
        assert set(crossing) == set(cut.tensors)
        assert sum(tensor.num_bytes for tensor in crossing) == cut.num_bytes


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
        Graph.of(OtherNames().eval(), picture(8), "it").reordered(order)


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


@pytest.mark.parametrize("name", ["mobilenet_v2", "swin_t", "googlenet"])
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


# --- sizes that a model wants ---------------------------------------------------------------------


def test_a_model_takes_the_input_size_of_its_spec() -> None:
    model = ModelSpec("inception_v3", "torchvision", input_size=107).build()
    graph = Graph.of(model, picture(107), "inception_v3")
    assert graph.cuts[0].tensors[0].shape == (1, 3, 107, 107)
    with pytest.raises(ConfigError, match="torch.export cannot trace inception_v3"):
        Graph.of(model, picture(32), "inception_v3")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (3, 2), (-1, 2), (0, 8), (7, 8)])
def test_a_stage_out_of_range(begin: int, end: int) -> None:
    _, graph, _ = of(Block())
    for method in (graph.stage, graph.stage_param_bytes, graph.stage_peak_bytes):
        with pytest.raises(ConfigError, match=rf"Block needs 0 <= .* <= 7 \(begin: {begin}, end: {end}\)"):
            method(begin, end)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x + self.count


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x


class Number(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x + 1, 3


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Branching(), r"torch.export cannot trace it \(Could not guard on data-dependent expression"),
        (TwoInputs(), r"it must take one input \(it takes x, y\)"),
        (Counter(), "it changes its own parameters or buffers"),
        (Autocast(), "it uses wrap_with_autocast, which is no plain aten operator"),
        (Number(), r"it must return tensors only \(it returns \[3\]\)"),
        (nn.Identity(), "it has no operators"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_that_cannot_be_cut(module: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model.name: {message}") as caught:
        Graph.of(module.eval(), picture(8), "it")
    assert "\n" not in str(caught.value)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be in eval mode"):
        Graph.of(Block(), picture(8), "it")
