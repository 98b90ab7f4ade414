"""What crosses a process border comes out as it went in: values, strides, order, bit for bit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import cast

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.domain.checks import ConfigError
from pipeline.execution.devices import wire
from pipeline.execution.devices.layout import Layout
from pipeline.execution.devices.pool import shared_pool
from pipeline.network.graph import Graph
from pipeline.network.models.libraries import timm
from pipeline.network.models.spec import ModelSpec
from pipeline.network.stage_program import from_program, program
from tests.conftest import EXHAUSTIVE, configured

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]


@given(
    shape=st.lists(st.integers(1, 5), max_size=4),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_round_trip(shape: list[int], dtype: torch.dtype, seed: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    tensor = (values * 10).to(dtype).permute(order)
    header, tensors = wire.decode(wire.encode({"op": "put"}, {"x": tensor}))
    assert header == {"op": "put"}
    assert torch.equal(tensors["x"], tensor)
    assert tensors["x"].stride() == tensor.stride()
    assert tensors["x"].dtype == dtype


def test_gaps_are_not_sent_and_shared_elements_once() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    given = {
        "sliced": base[:, 1:3],
        "expanded": base[:1].expand(100, 6),
        "expanded with gaps": base[:, 3:5, None].expand(4, 2, 2),
        "windows": base.view(-1).unfold(0, 20, 1),
        "channels last": base.t(),
        "empty": torch.empty(0, 3),
        "scalar": base[1, 1],
    }
    frames = wire.encode({}, given)
    _, arrived = wire.decode(frames)
    assert list(arrived) == list(given)
    for name, tensor in given.items():
        assert torch.equal(arrived[name], tensor), name
        assert arrived[name].stride() == tensor.stride(), name
    sent = {name: len(values) for name, values in safetensors.torch.load(frames[1]).items()}
    assert sent == {
        "sliced": 8, "expanded": 6, "expanded with gaps": 16, "windows": 24, "channels last": 24,
        "empty": 0, "scalar": 1,
    }  # fmt: skip


def test_tensors_that_share_memory_arrive_apart() -> None:
    """No stage can tell: where a stage would write to shared memory, the model has no cut."""
    x = torch.arange(4.0)
    _, tensors = wire.decode(wire.encode({}, {"a": x, "b": x.view(2, 2)}))
    tensors["a"].zero_()
    assert torch.equal(tensors["b"], torch.tensor([[0.0, 1.0], [2.0, 3.0]]))


def test_special_floats_survive() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    _, tensors = wire.decode(wire.encode({}, {"x": x}))
    assert torch.equal(tensors["x"].view(torch.int32), x.view(torch.int32))


def test_a_new_header_leaves_the_tensors() -> None:
    frames = wire.readdress(wire.encode({}, {"x": torch.ones(2)}), {"op": "put", "request": "7"})
    assert wire.header(frames) == {"op": "put", "request": "7"}
    assert torch.equal(wire.decode(frames)[1]["x"], torch.ones(2))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        "regnet_y_400mf",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("vit_b_16", "swin_t")),
    ],
)
@torch.inference_mode()
def test_split_models_answer_bit_for_bit_across_the_wire(name: str) -> None:
    """Programs, parameters and boundary tensors as they travel between devices; strides decide kernels."""
    options = {"image_size": 64} if name == "vit_b_16" else {}
    spec = replace(configured("model", "mobilenet_v2"), name=name, input_size=64, options=options)
    module = spec.build()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = module(x)
    graph = Graph.of(module, torch.zeros_like(x), name)
    for cut in np.random.default_rng(1).choice(np.arange(1, len(graph)), 6, replace=False):
        assert torch.equal(travelled(graph, [0, int(cut), len(graph)], x), expected), f"cut {cut}"
    assert not torch.equal(expected, module(x + 1))


def sent(values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Tensors as they arrive."""
    return tuple(wire.decode(wire.encode({}, {str(i): value for i, value in enumerate(values)}))[1].values())


def travelled(graph: Graph, bounds: Sequence[int], x: torch.Tensor) -> torch.Tensor:
    """The answer of the stages between these bounds; stages and values have crossed the wire."""
    values = (x,)
    for begin, end in pairwise(bounds):
        description, own = program(graph.stage(begin, end))
        header, parameters = wire.decode(wire.encode({"program": description}, own))
        values = from_program(header["program"], parameters)(*sent(values))
    return values[0]


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sliced": lambda y: y[:, :, ::2, 1:].mean((2, 3)),
    "permuted": lambda y: functional.normalize(y.view(1, 256, 32)[..., :16].transpose(1, 2), dim=2),
    "expanded": lambda y: y[:, :, 0, :1].expand(1, 32, 37).mean(2),
    "windows": lambda y: y.flatten().unfold(0, 100, 1).sum(0),
    "sliced and written to": lambda y: y[:, :, ::2, 1:].mul_(2).mean((2, 3)),
}


class Viewed(torch.nn.Module):
    """A convolution, a view of its result that is not dense, and a sum whose last bits depend on strides."""

    def __init__(self, view: str) -> None:
        super().__init__()
        self.view = VIEWS[view]
        torch.manual_seed(3)
        self.conv = torch.nn.Conv2d(3, 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.view(self.conv(x))


@pytest.mark.parametrize("view", VIEWS)
@torch.inference_mode()
def test_views_with_gaps_or_shared_elements_keep_the_bits(view: str) -> None:
    module = Viewed(view).eval()
    x = torch.randn(1, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    expected = module(x)
    graph = Graph.of(module, torch.zeros_like(x), view)

    def split(carry: Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]], cut: int) -> torch.Tensor:
        (result,) = graph.stage(cut, len(graph))(*carry(graph.stage(0, cut)(*carry([x]))))
        return cast(torch.Tensor, result)

    cuts = range(1, len(graph))
    assert all(torch.equal(split(sent, cut), expected) for cut in cuts)
    # Negative control: the same values without gaps give other bits.
    assert not all(torch.equal(split(without_gaps, cut), expected) for cut in cuts)


def without_gaps(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    dense = torch.ops.aten.is_non_overlapping_and_dense
    return [value if dense(value) else value.contiguous() for value in values]


def test_device_processes_exchange_views_as_they_are() -> None:
    """From one process to another, directly and by way of the coordinator, which readdresses the message."""
    module = Viewed("permuted").eval().requires_grad_(False)
    x = torch.randn(1, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    graph = Graph.of(module, torch.zeros_like(x), "viewed")
    cut = [layer.op for layer in graph.layers].index("transpose") + 1
    pool = shared_pool(["fast", "clean"])
    between = pool.deploy("fast", "first", graph, 0, cut, inputs=[Layout.of(x)], warmup=1)
    (crossing,) = graph.stage(0, cut)(x)
    assert crossing.stride() == (256 * 32, 1, 32)
    assert [tuple(layout.strides) for layout in between] == [crossing.stride()]  # what the warm-up tells
    pool.deploy("clean", "second", graph, cut, len(graph), inputs=between, warmup=1)
    pool.call("fast", {"op": "put", "request": "0"}, {"0": x})
    run = {"op": "run", "request": "0", "takes": "0"}
    pool.call("fast", {**run, "stage": "first"})
    frames = pool.forward("fast", wire.encode({"op": "fetch", "request": "0"}))
    pool.forward("clean", wire.readdress(frames, {"op": "put", "request": "0"}))
    pool.call("clean", {**run, "stage": "second"})
    _, answer = pool.call("clean", {"op": "fetch", "request": "0"})
    assert torch.equal(answer["0"], module(x))
    for name in ("fast", "clean"):
        pool.call(name, {"op": "reset"})


GAPS = ("xcit_nano_12_p8_224", "focalnet_tiny_srf")
"""Models whose tensors have gaps at many cuts, and whose answers change in the last bits without them."""
RANDOM_MODELS = 60 if EXHAUSTIVE else 15
MOST_PARAMETERS = 7e6
"""Of a model drawn at random, so that the test ends within minutes."""


@pytest.mark.full
@torch.inference_mode()
def test_models_of_timm_answer_bit_for_bit_across_the_wire() -> None:
    """Each crosses the wire at all of its cuts at once, and with its programs at four of them."""
    random = np.random.default_rng(5)
    drawn = (str(name) for name in random.permutation(sorted(timm().list_models())))
    small = ((name, size) for name in drawn if (size := input_size_of_small(name)))
    names, refused = [], []
    for name, size in chain(((name, 224) for name in GAPS), small):
        try:
            module = ModelSpec(name, "timm", input_size=size).build()
            graph = Graph.of(module, torch.zeros(1, 3, size, size), name)
        except ConfigError as error:
            refused.append(f"{name}: {error}")
            continue
        x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        expected, values = module(x), (x,)
        for layer in range(len(graph)):
            values = graph.stage(layer, layer + 1)(*sent(values))
        assert torch.equal(values[0], expected), name
        cuts = random.choice(np.arange(1, len(graph)), 4, replace=False)
        assert torch.equal(travelled(graph, [0, *sorted(map(int, cuts)), len(graph)], x), expected), name
        assert not torch.equal(expected, module(x + 1)), name
        names.append(name)
        if len(names) == len(GAPS) + RANDOM_MODELS:
            break
    print(f"{len(names)} models; refused: {refused}")
    assert len(names) == len(GAPS) + RANDOM_MODELS


def input_size_of_small(name: str) -> int:
    """Pixels of a timm model's images; 0 for a model with more than MOST_PARAMETERS or other inputs."""
    with torch.device("meta"), contextlib.suppress(Exception):  # some models cannot be made without memory
        model = timm().create_model(name)
        channels, height, width = model.pretrained_cfg["input_size"]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        if parameters <= MOST_PARAMETERS and channels == 3 and height == width <= 256:
            return int(height)
    return 0


def test_frames_are_json_and_safetensors_never_pickle() -> None:
    first, second = wire.encode({"op": "put"}, {"x": torch.ones(2)})
    json.loads(first)
    length = int.from_bytes(second[:8], "little")
    assert json.loads(second[8 : 8 + length])["x"]["dtype"] == "F32"
    with pytest.raises(Exception, match="header"):
        wire.decode([first, b"\x80\x04\x95 a pickle"])
