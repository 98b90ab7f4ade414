"""Names, own tensors and costs of a layer's operators. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, fx

from pipeline.network.aliasing import Values, arguments
from pipeline.network.layer import Layer

_CONVOLUTIONS = frozenset(
    {"conv1d", "conv2d", "conv3d", "convolution"} | {f"conv_transpose{dims}d" for dims in (1, 2, 3)}
)


def layer_of(
    index: int,
    calls: Sequence[fx.Node],
    alive: Iterable[fx.Node],
    values: Values,
    tensors: Mapping[str, Tensor],
) -> Layer:
    """The layer that consists of these calls.

    `alive` are all nodes whose values exist at some time while it runs; `tensors` are the model's parameters,
    buffers and constants by dotted name.
    """
    costs = [_eq5_cost(node, values, tensors) for node in calls]
    heaviest = calls[costs.index(max(costs))] if any(costs) else calls[-1]
    storages = {number: size for node in alive for number, size in values.storages[node].items()}
    return Layer(
        index=index,
        name=heaviest.name,
        op=_operator_name(heaviest, values),
        eq5_cost=sum(costs),
        param_bytes=sum(tensors[target].nbytes for target in own_tensors(calls)),
        peak_bytes=sum(storages.values()),
    )


def own_tensors(calls: Iterable[fx.Node]) -> set[str]:
    """Dotted names of the parameters, buffers and constants that the calls use."""
    return {str(arg.target) for node in calls for arg in node.all_input_nodes if arg.op == "get_attr"}


def _is_convolution(node: fx.Node) -> bool:
    return node.target is not operator.getitem and node.target._opname in _CONVOLUTIONS  # type: ignore[union-attr]


def _channels(node: fx.Node, values: Values) -> tuple[int, int, int]:
    """Input channels, output channels and kernel size (kh*kw) of a convolution or transposed convolution."""
    named = arguments(node)
    kernel = values.specs[named["weight"]].shape[2:]
    axis = -1 - len(kernel)
    cin, cout = values.specs[named["input"]].shape[axis], values.specs[node].shape[axis]
    return cin, cout, math.prod(kernel)


def _operator_name(node: fx.Node, values: Values) -> str:
    if node.target is operator.getitem:
        return "getitem"
    opname = str(node.target._opname)  # type: ignore[union-attr]
    depthwise = _is_convolution(node) and arguments(node)["groups"] == _channels(node, values)[0] > 1
    return f"{opname}_depthwise" if depthwise else opname


def _eq5_cost(node: fx.Node, values: Values, tensors: Mapping[str, Tensor]) -> int:
    """Eq. 5 of CarbonEdge (arXiv 2603.27420): kh*kw*Cin*Cout, Nin*Nout, or the number of parameters.

    As in the paper, Cin counts all input channels and ignores groups, which overstates depthwise layers.
    """
    if _is_convolution(node):
        return math.prod(_channels(node, values))
    if _operator_name(node, values) == "linear":
        return math.prod(values.specs[arguments(node)["weight"]].shape)
    own = (tensors[target] for target in own_tensors([node]))
    return sum(tensor.numel() for tensor in own if isinstance(tensor, torch.nn.Parameter))
