"""The layers of a model, the cuts between them and the tensors that flow. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """A tensor in a graph: its name, shape, dtype (such as `float32`) and size, not its values."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int


@dataclass(frozen=True)
class Layer:
    """The smallest unit that is profiled: the operators between two neighbouring cut points."""

    index: int
    name: str
    op: str
    """Operator type: `conv2d`, `conv2d_depthwise`, `linear`, `hardtanh_` ..."""
    eq5_cost: int
    """Eq. 5 of CarbonEdge (arXiv 2603.27420): kh*kw*Cin*Cout, Nin*Nout, or the number of parameters."""
    param_bytes: int
    """Bytes of the parameters, buffers and constants that the layer holds."""
    peak_bytes: int
    """Bytes of all activations alive while the layer runs: inputs and outputs, but no kernel workspace."""


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


@dataclass(frozen=True)
class Flow:
    """A tensor that flows between layers. It crosses the cuts after its producer up to its last consumer."""

    tensor: TensorSpec
    producer: int
    """The layer that computes it; -1: it is the model's input."""
    consumers: tuple[int, ...]
    """The other layers that use it, rising; len(graph): it is an output of the model."""
