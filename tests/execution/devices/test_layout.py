"""A layout restores what was packed: the same values at the same strides, from no more than the elements."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.devices.layout import Layout, packed
from pipeline.network.layer import TensorSpec

AXES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=4)
"""Size and stride of each axis: dense, with gaps, or with elements that share memory."""


@given(axes=AXES)
def test_any_strides_come_back(axes: list[tuple[int, int]]) -> None:
    shape, strides = [size for size, _ in axes], [stride for _, stride in axes]
    tensor = torch.as_strided(torch.arange(200.0), shape, strides, 7)
    layout, values = Layout.of(tensor), packed(tensor)
    assert len(values) == layout.num_packed <= tensor.numel()
    for restored in (layout.unpacked(values), layout.unpacked(values.clone())):
        assert torch.equal(restored, tensor)
        assert list(restored.stride()) == list(tensor.stride())
    for made in (layout.zeros(), layout.noise(torch.Generator().manual_seed(0))):
        assert Layout.of(made) == layout
    assert not layout.zeros().any()


def test_sizes_by_hand() -> None:
    # 2 rows of 3, a row every 10 places: 1 + 1 * 10 + 2 * 1 = 13 places, of which 6 hold elements.
    gaps = Layout("float32", (2, 3), (10, 1))
    assert (gaps.span, gaps.num_packed) == (13, 6)
    # 5 windows of 3, each one place further: 1 + 4 + 2 = 7 places hold all 15 elements.
    windows = Layout("float32", (5, 3), (1, 1))
    assert (windows.span, windows.num_packed) == (7, 7)
    assert (Layout("int64", (), ()).span, Layout("int64", (4, 0), (9, 9)).span) == (1, 0)


def test_a_contiguous_layout_is_that_of_a_new_tensor() -> None:
    for shape in ((), (3,), (1, 3, 4, 5), (2, 0, 3)):
        spec = TensorSpec("x", shape, "int64", 0)
        made = Layout.contiguous(spec)
        assert (made.shape, made.dtype) == (shape, "int64")
        assert torch.equal(made.zeros(), torch.zeros(shape, dtype=torch.int64))
        if 0 not in shape:
            assert tuple(made.strides) == torch.zeros(shape).stride()
