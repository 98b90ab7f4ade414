"""The layers of a model, the cuts between them and the tensors that cross. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as it stands in a graph: its name, shape and dtype (as in `float32`), and its size."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int


@dataclass(frozen=True)
class Layer:
    """The smallest unit we profile: the operators between two neighbouring cut points."""

    index: int
    name: str
    op: str
    """Operator type: `conv2d`, `conv2d_depthwise`, `linear`, `hardtanh_` ..."""
    eq5_cost: int
    """Cost by Eq. 5 of the paper: kh*kw*Cin*Cout, Nin*Nout, or the number of parameters."""
    param_bytes: int
    """Parameters, buffers and constants that the layer holds."""
    peak_bytes: int
    """All activations alive while the layer runs, inputs and outputs (kernel workspace excluded)."""


@dataclass(frozen=True)
class Cut:
    """A place between layers where a model may be split: its boundary is all the tensors alive there.

    Cut k lies before layer k; cut 0 holds the model's input and the last cut its output.
    """

    index: int
    tensors: tuple[TensorSpec, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes that cross when the model is split here."""
        return sum(tensor.num_bytes for tensor in self.tensors)
