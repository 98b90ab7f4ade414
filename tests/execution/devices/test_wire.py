"""What crosses a process border comes out as it went in: values, strides, order, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.devices import wire
from pipeline.network.graph import Graph
from pipeline.network.stage_program import from_program, program
from tests.conftest import configured

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


def test_gaps_and_overlaps_are_made_dense() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    sliced, expanded, empty = base[:, 1:3], base[:1].expand(3, 6), torch.empty(0, 3)
    _, tensors = wire.decode(wire.encode({}, {"s": sliced, "e": expanded, "o": empty}))
    assert list(tensors) == ["s", "e", "o"]
    assert torch.equal(tensors["s"], sliced)
    assert torch.equal(tensors["e"], expanded)
    assert tensors["o"].shape == (0, 3)


def test_tensors_that_share_memory_arrive_apart() -> None:
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
    "name", ["mobilenet_v2", pytest.param("vit_b_16", marks=pytest.mark.full), "swin_t", "regnet_y_400mf"]
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
        values: tuple[torch.Tensor, ...] = (x,)
        for begin, end in ((0, int(cut)), (int(cut), len(graph))):
            description, own = program(graph.stage(begin, end))
            header, parameters = wire.decode(wire.encode({"program": description}, own))
            _, arrived = wire.decode(wire.encode({}, {str(i): value for i, value in enumerate(values)}))
            values = from_program(header["program"], parameters)(*arrived.values())
        assert torch.equal(values[0], expected), f"cut {cut}"
    assert not torch.equal(expected, module(x + 1))


def test_frames_are_json_and_safetensors_never_pickle() -> None:
    first, second = wire.encode({"op": "put"}, {"x": torch.ones(2)})
    json.loads(first)
    length = int.from_bytes(second[:8], "little")
    assert json.loads(second[8 : 8 + length])["x"]["dtype"] == "F32"
    with pytest.raises(Exception, match="header"):
        wire.decode([first, b"\x80\x04\x95 a pickle"])
