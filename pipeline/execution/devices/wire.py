"""The format of all messages between processes: JSON and safetensors, never pickle. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors.torch
import torch


def encode(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None = None) -> list[bytes]:
    """Two frames: the header with each tensor's shape and strides, and the tensors' values.

    The strides of a tensor that is dense in its storage are kept: kernels choose their algorithm by strides,
    and a stage must compute the same bits in either process. A tensor with gaps or overlaps is made
    contiguous.
    """
    layouts: dict[str, tuple[list[int], list[int]]] = {}
    flat: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in (tensors or {}).items():
        dense = tensor.detach()
        if not _is_dense(dense):
            dense = dense.contiguous()
        layouts[name] = list(dense.shape), list(dense.stride())
        values = torch.as_strided(dense, (dense.numel(),), (1,))
        # safetensors rejects tensors that share a storage.
        storage = values.untyped_storage().data_ptr()
        flat[name] = values.clone() if storage in seen else values
        seen.add(storage)
    return [json.dumps({"header": header, "layouts": layouts}).encode(), safetensors.torch.save(flat)]


def header(frames: Sequence[bytes]) -> dict[str, Any]:
    """The header of a message, without decoding its tensors."""
    return dict(json.loads(frames[0])["header"])


def readdress(frames: Sequence[bytes], new_header: Mapping[str, Any]) -> list[bytes]:
    """A message with the same tensors and another header; the tensors are not decoded."""
    layouts = json.loads(frames[0])["layouts"]
    return [json.dumps({"header": new_header, "layouts": layouts}).encode(), *frames[1:]]


def decode(frames: Sequence[bytes]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The header and the tensors that `encode` was called with, in the same order."""
    envelope = json.loads(frames[0])
    flat = safetensors.torch.load(frames[1])
    tensors = {
        name: torch.as_strided(flat[name], shape, strides)
        for name, (shape, strides) in envelope["layouts"].items()
    }
    return envelope["header"], tensors


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill one contiguous range of the storage, without gaps or overlaps."""
    if tensor.numel() == 0:
        return False
    expected = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda d: d[1]):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True
