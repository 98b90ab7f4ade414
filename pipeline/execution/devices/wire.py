"""The format of all messages between processes: JSON and safetensors, never pickle. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors.torch
import torch

from pipeline.execution.devices.layout import Layout, packed


def encode(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None = None) -> list[bytes]:
    """Two frames: the header with each tensor's layout, and the tensors' values, without those in gaps."""
    layouts: dict[str, Layout] = {}
    flat: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in (tensors or {}).items():
        layouts[name] = Layout.of(tensor)
        values = packed(tensor.detach())
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
    """The header and the tensors that `encode` was called with, in the same order and with equal strides.

    Tensors that shared memory no longer do.
    """
    envelope = json.loads(frames[0])
    flat = safetensors.torch.load(frames[1])
    tensors = {name: Layout(*layout).unpacked(flat[name]) for name, layout in envelope["layouts"].items()}
    return envelope["header"], tensors
