"""Compression of a stage's tensors before they are sent to another device, and decompression there. Pure.

A codec is a few aten operators inside the stage's own graph: it travels to a device with the stage, and its
time and energy are part of the stage's.

float16 halves the bytes of each value; values above 65504 become infinite. int8 is affine quantisation (Jacob
et al., CVPR 2018, arXiv 1712.05877, Eq. 1): x = scale * (q - zero), where q and zero are 8-bit integers, so
that 0 stays 0. Scale and zero come from the least and the greatest value of each channel (dimension 1), or of
the whole tensor where a channel is a single value. The scale is the range, extended to include 0, ÷ 255; a
value changes by at most half of the scale. NaN stays NaN in float16; in int8 a channel that contains NaN or
infinity has no finite value afterwards. A decoded tensor is dense: its elements keep their order
in memory, but gaps between them are lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import fx

from pipeline.domain.plan import COMPRESSIONS, require_compression
from pipeline.network.layer import TensorSpec

_ATEN = torch.ops.aten
_LEVELS = 255
_LEAST, _GREATEST = -128, 127
_TINY = torch.finfo(torch.float32).tiny


def encoded_specs(tensors: Sequence[TensorSpec], compression: str) -> tuple[TensorSpec, ...]:
    """The tensors that are sent for these tensors, in order; under int8 values, scales and zeros for each.

    values: the tensor's shape; scales and zeros: (1, channels, 1, ...), or all 1 where each channel is one
    value. Tensors that are not float32 and those of fewer than two values stay unchanged. Raises
    ConfigError for an unknown compression.
    """
    require_compression("compression", compression)
    return tuple(part for tensor in tensors for part in _encoded(tensor, compression))


def compressed_bytes(tensors: Sequence[TensorSpec], compression: str) -> int:
    """Bytes that are sent for these tensors. Raises ConfigError for an unknown compression."""
    return sum(part.num_bytes for part in encoded_specs(tensors, compression))


def with_codecs(
    stage: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    before: str,
    outputs: Sequence[TensorSpec],
    after: str,
) -> fx.GraphModule:
    """The stage with its inputs encoded by the compression `before` and its outputs by `after`.

    It takes and returns the tensors of `encoded_specs`, and shares the stage's parameters. `inputs` and
    `outputs` are the tensors of the cuts around the stage.
    """
    if before == after == COMPRESSIONS[0]:
        return stage
    graph = fx.Graph()
    originals = [node for node in stage.graph.nodes if node.op == "placeholder"]
    copies: dict[fx.Node, fx.Node] = {}
    # fx requires all placeholders to come first.
    arrived = [
        [graph.placeholder(part.name) for part in encoded_specs([tensor], before)] for tensor in inputs
    ]
    for node, tensor, parts in zip(originals, inputs, arrived, strict=True):
        copies[node] = _decode(graph, parts, before) if _is_encoded(tensor, before) else parts[0]
    results = graph.graph_copy(stage.graph, copies)
    assert isinstance(results, tuple)
    graph.output(
        tuple(
            part
            for node, tensor in zip(results, outputs, strict=True)
            for part in (_encode(graph, node, tensor, after) if _is_encoded(tensor, after) else [node])
        )
    )
    return fx.GraphModule(stage, graph).eval()


def encoder(tensors: Sequence[TensorSpec], compression: str) -> fx.GraphModule:
    """A stage that only encodes these tensors: from `tensors` to those of `encoded_specs`."""
    return with_codecs(_identity(tensors), tensors, COMPRESSIONS[0], tensors, compression)


def decoder(tensors: Sequence[TensorSpec], compression: str) -> fx.GraphModule:
    """A stage that only decodes these tensors: from those of `encoded_specs` to `tensors`."""
    return with_codecs(_identity(tensors), tensors, compression, tensors, COMPRESSIONS[0])


def _identity(tensors: Sequence[TensorSpec]) -> fx.GraphModule:
    graph = fx.Graph()
    graph.output(tuple(graph.placeholder(tensor.name) for tensor in tensors))
    return fx.GraphModule({}, graph)


def _is_encoded(tensor: TensorSpec, compression: str) -> bool:
    return compression != COMPRESSIONS[0] and tensor.dtype == "float32" and math.prod(tensor.shape) > 1


def _channels(tensor: TensorSpec) -> tuple[int, ...]:
    """Shape of the tensor's scales: 1 on all axes but the channels'; there too if a channel is one value."""
    shape = tensor.shape
    by_channel = len(shape) >= 2 and math.prod(shape) > shape[1]
    return tuple(size if by_channel and axis == 1 else 1 for axis, size in enumerate(shape))


def _encoded(tensor: TensorSpec, compression: str) -> Iterator[TensorSpec]:
    if not _is_encoded(tensor, compression):
        yield tensor
        return
    count = math.prod(tensor.shape)
    if compression == "float16":
        yield TensorSpec(tensor.name, tensor.shape, "float16", 2 * count)
        return
    channels = _channels(tensor)
    yield TensorSpec(tensor.name, tensor.shape, "int8", count)
    yield TensorSpec(f"{tensor.name}_scale", channels, "float32", 4 * math.prod(channels))
    yield TensorSpec(f"{tensor.name}_zero", channels, "int8", math.prod(channels))


def _cast(graph: fx.Graph, node: fx.Node, dtype: torch.dtype) -> fx.Node:
    return graph.call_function(_ATEN._to_copy.default, (node,), {"dtype": dtype})


def _decode(graph: fx.Graph, parts: Sequence[fx.Node], compression: str) -> fx.Node:
    value = _cast(graph, parts[0], torch.float32)
    if compression == "int8":
        _, scale, zero = parts
        value = graph.call_function(_ATEN.sub_.Tensor, (value, zero))
        value = graph.call_function(_ATEN.mul_.Tensor, (value, scale))
    return value


def _encode(graph: fx.Graph, node: fx.Node, tensor: TensorSpec, compression: str) -> list[fx.Node]:
    if compression == "float16":
        return [_cast(graph, node, torch.float16)]
    call = graph.call_function
    axes = [axis for axis, size in enumerate(_channels(tensor)) if size == 1]
    # The range includes 0, so that 0 is represented exactly. Each end is divided before the two are
    # subtracted, because their difference may overflow.
    least = call(_ATEN.clamp_max_.default, (call(_ATEN.amin.default, (node, axes, True)), 0))
    greatest = call(_ATEN.clamp_min_.default, (call(_ATEN.amax.default, (node, axes, True)), 0))
    least = call(_ATEN.div_.Scalar, (least, _LEVELS))
    greatest = call(_ATEN.div_.Scalar, (greatest, _LEVELS))
    # The range of a channel of zeros is 0; any scale above 0 restores them.
    scale = call(_ATEN.clamp_min_.default, (call(_ATEN.sub.Tensor, (greatest, least)), _TINY))
    # zero = -128 - 255 * least / scale, because `least` is divided by 255 already.
    zero = call(_ATEN.mul_.Scalar, (call(_ATEN.div_.Tensor, (least, scale)), -_LEVELS))
    zero = call(_ATEN.round_.default, (call(_ATEN.add_.Scalar, (zero, _LEAST)),))
    value = call(_ATEN.round_.default, (call(_ATEN.div.Tensor, (node, scale)),))
    value = call(_ATEN.clamp_.default, (call(_ATEN.add_.Tensor, (value, zero)), _LEAST, _GREATEST))
    return [_cast(graph, value, torch.int8), scale, _cast(graph, zero, torch.int8)]
