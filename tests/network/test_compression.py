"""Compressed tensors: their sizes, the error after decompression, and a stage between codecs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import COMPRESSIONS
from pipeline.network.compression import compressed_bytes, decoder, encoded_specs, encoder, with_codecs
from pipeline.network.graph import Graph
from pipeline.network.layer import TensorSpec
from pipeline.network.stage_program import from_program, program


def spec(tensor: torch.Tensor, name: str = "x") -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.nbytes)


def there_and_back(tensor: torch.Tensor, compression: str) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """What crosses, and what arrives, each codec having travelled as a program does."""
    encode = from_program(*program(encoder([spec(tensor)], compression)))
    decode = from_program(*program(decoder([spec(tensor)], compression)))
    crossing = encode(tensor)
    (arrived,) = decode(*crossing)
    assert arrived.shape == tensor.shape
    assert arrived.dtype == tensor.dtype
    return crossing, arrived


def test_eight_bits_by_hand() -> None:
    # Channel 0: 0 to 255, scale 1, zero -128. Channel 1: -51 to 204, scale 1, zero -77. Channel 2: range
    # takes in 0, so 0 to 510, scale 2, zero -128. Channel 3: nothing but zeros.
    x = torch.tensor([[[0.0, 1.4, 255.0], [-51.0, 0.0, 204.0], [10.0, 100.0, 510.0], [0.0, 0.0, 0.0]]])
    (values, scale, zero), arrived = there_and_back(x, "int8")
    assert values.tolist()[0][:3] == [[-128, -127, 127], [-128, -77, 127], [-123, -78, 127]]
    assert scale.flatten().tolist()[:3] == [1, 1, 2]
    assert zero.flatten().tolist()[:3] == [-128, -77, -128]
    assert arrived.tolist() == [[[0, 1, 255], [-51, 0, 204], [10, 100, 510], [0, 0, 0]]]


def test_sixteen_bits_are_a_cast() -> None:
    x = torch.tensor([1.0, 1 / 3, 65504.0, 65520.0, math.nan])
    (half,), arrived = there_and_back(x, "float16")
    assert half.dtype == torch.float16
    assert torch.equal(arrived[:4], torch.tensor([1.0, 0.333251953125, 65504.0, math.inf]))
    assert arrived[4].isnan()


@pytest.mark.parametrize("compression", COMPRESSIONS[1:])
def test_elements_keep_their_order_in_memory(compression: str) -> None:
    x = torch.randn(2, 4, 5, 6).to(memory_format=torch.channels_last)
    _, arrived = there_and_back(x, compression)
    assert arrived.stride() == x.stride()
    _, arrived = there_and_back(x[:, 1:3], compression)
    assert arrived.stride() == (60, 1, 12, 2)  # without the two channels in between


def test_sizes_by_hand() -> None:
    feature = TensorSpec("feature", (1, 16, 7, 7), "float32", 3136)
    vector = TensorSpec("vector", (1, 1280), "float32", 5120)
    index = TensorSpec("index", (1, 3), "int64", 24)
    scalar = TensorSpec("scalar", (), "float32", 4)
    tensors = [feature, vector, index, scalar]
    assert compressed_bytes(tensors, "float32") == 3136 + 5120 + 24 + 4
    assert compressed_bytes(tensors, "float16") == 1568 + 2560 + 24 + 4
    # 784 values with 16 scales and zeros; 1280 values with one of each; the others as they are.
    assert compressed_bytes(tensors, "int8") == (784 + 16 * 5) + (1280 + 5) + 24 + 4
    assert encoded_specs(tensors, "float32") == tuple(tensors)
    with pytest.raises(ConfigError, match="compression: must be one of float32, float16, int8 .'int4'."):
        compressed_bytes(tensors, "int4")


SHAPES = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)


@settings(deadline=None)
@given(shape=SHAPES, compression=st.sampled_from(COMPRESSIONS), data=st.data())
def test_what_crosses_is_as_announced_and_comes_back_near(
    shape: tuple[int, ...], compression: str, data: st.DataObject
) -> None:
    count = math.prod(shape)
    values = data.draw(st.lists(st.floats(-3e4, 3e4, width=32), min_size=count, max_size=count))
    x = torch.tensor(values, dtype=torch.float32).reshape(shape)
    crossing, arrived = there_and_back(x, compression)
    specs = encoded_specs([spec(x)], compression)
    assert [(tuple(t.shape), t.dtype, t.nbytes) for t in crossing] == [
        (s.shape, getattr(torch, s.dtype), s.num_bytes) for s in specs
    ]
    if len(crossing) == 3:
        scale = crossing[1].double()
        assert ((arrived.double() - x.double()).abs() <= scale * (0.5 + 1e-3)).all()
        assert (arrived[x == 0] == 0).all()
    elif compression == "float16" and count > 1:
        assert ((arrived - x).abs() <= x.abs() * 2**-11 + 2**-25).all()
    else:
        assert torch.equal(arrived, x)


def test_channels_are_told_apart() -> None:
    """A channel of small values keeps them beside one of large values, as it would not with one range."""
    x = torch.stack([torch.linspace(0, 1e-3, 50), torch.linspace(0, 1e3, 50)]).reshape(1, 2, 5, 10)
    _, arrived = there_and_back(x, "int8")
    assert (arrived - x)[0, 0].abs().max() < 1e-5
    flat = x.reshape(100)
    _, arrived = there_and_back(flat, "int8")
    assert arrived[:50].abs().max() == 0


def test_a_channel_that_is_not_finite_says_so_and_spares_the_others() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        x = torch.arange(12.0).reshape(1, 3, 4)
        x[0, 1, 2] = bad
        _, arrived = there_and_back(x, "int8")
        assert not arrived[0, 1].isfinite().any()
        assert (arrived[0, ::2] - x[0, ::2]).abs().max() < 0.03


def test_the_widest_range_there_is() -> None:
    x = torch.tensor([[[-3e38, 3e38, 0.0]]])
    _, arrived = there_and_back(x, "int8")
    assert arrived.isfinite().all()
    assert arrived[0, 0, 2] == 0


def test_a_stage_between_codecs(tiny_graph: Graph) -> None:
    inputs, outputs = tiny_graph.cuts[2].tensors, tiny_graph.cuts[4].tensors
    stage = tiny_graph.stage(2, 4)
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(tensor.shape, generator=generator) for tensor in inputs]
    sent = encoder(inputs, "int8")(*x)
    wrapped = from_program(*program(with_codecs(stage, inputs, "int8", outputs, "float16")))
    expected = stage(*decoder(inputs, "int8")(*sent))
    found = wrapped(*sent)
    assert all(tensor.dtype == torch.float16 for tensor in found)
    assert all(torch.equal(a, b.half()) for a, b in zip(found, expected, strict=True))
    assert with_codecs(stage, inputs, "float32", outputs, "float32") is stage
