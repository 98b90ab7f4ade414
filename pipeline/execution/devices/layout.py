"""How a tensor lies in memory: what of it is sent, and memory laid out like that again. Pure.

Kernels choose their algorithm by strides, and each algorithm rounds in its own way: a stage computes the same
bits as the whole model only on tensors with the same strides, those with gaps or shared elements included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch

from pipeline.network.layer import TensorSpec


class Layout(NamedTuple):
    """The dtype (such as `float32`), the shape and the strides, in elements, of a tensor."""

    dtype: str
    shape: Sequence[int]
    strides: Sequence[int]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        """The layout of a tensor."""
        return cls(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), tensor.stride())

    @classmethod
    def contiguous(cls, spec: TensorSpec) -> Self:
        """The layout of a contiguous tensor."""
        strides = [math.prod(spec.shape[axis + 1 :]) for axis in range(len(spec.shape))]
        return cls(spec.dtype, spec.shape, strides)

    @property
    def span(self) -> int:
        """Number of places in memory from the first element to the last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def num_packed(self) -> int:
        """Number of values that `packed` returns: at most the number of elements."""
        return min(self.span, math.prod(self.shape))

    def zeros(self) -> torch.Tensor:
        """A tensor of zeros with this layout."""
        return self.unpacked(torch.zeros(self.num_packed, dtype=getattr(torch, self.dtype)))

    def noise(self, generator: torch.Generator) -> torch.Tensor:
        """A float32 tensor of normally distributed values with this shape and these strides."""
        return self.unpacked(torch.randn(self.num_packed, generator=generator))

    def unpacked(self, values: torch.Tensor) -> torch.Tensor:
        """The tensor of this layout from what `packed` returned; it may share the memory of `values`."""
        if len(values) == self.span:
            return torch.as_strided(values, self.shape, self.strides)
        tensor = torch.as_strided(values.new_empty(self.span), self.shape, self.strides)
        # Elements along an axis of stride 0 are one place in memory, which may be written to only once.
        once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in self.strides)
        tensor[once] = values.view(*self.shape)[once]
        return tensor


def packed(tensor: torch.Tensor) -> torch.Tensor:
    """(num_packed,): the values to send for a tensor, contiguous, from which `Layout.unpacked` restores it.

    They are the memory from the first element to the last if that has no more values than the tensor has
    elements: without gaps, or where elements share memory. Else they are the elements in order of index.
    """
    layout = Layout.of(tensor)
    if layout.num_packed == layout.span:
        return torch.as_strided(tensor, (layout.span,), (1,))
    return tensor.contiguous().view(-1)
