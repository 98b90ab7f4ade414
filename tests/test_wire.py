"""What crosses a process border comes out as it went in: values, strides, order, bit for bit."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backends import wire

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


def test_frames_are_json_and_safetensors_never_pickle() -> None:
    first, second = wire.encode({"op": "put"}, {"x": torch.ones(2)})
    json.loads(first)
    length = int.from_bytes(second[:8], "little")
    assert json.loads(second[8 : 8 + length])["x"]["dtype"] == "F32"
    with pytest.raises(Exception, match="header"):
        wire.decode([first, b"\x80\x04\x95 a pickle"])
