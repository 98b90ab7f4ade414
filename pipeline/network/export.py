"""A model as one flat graph of aten operators; models that cannot be cut are rejected. Pure."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.network.aliasing import written
from pipeline.network.blocks import inline_blocks
from pipeline.network.stage_program import attribute, is_plain

if TYPE_CHECKING:
    from networkx.utils import UnionFind


def export(module: torch.nn.Module, example_input: Tensor, name: str) -> fx.GraphModule:
    """The model as a flat graph of aten operators with one input and static shapes.

    Raises ConfigError, with the reason, for a model in training mode or with several inputs, one that cannot
    be exported, one that returns something other than a tensor or a tuple of tensors, and one that uses
    something other than aten operators.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    inputs = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    require(len(inputs) <= 1, f"model.name: {name} must take one input (it takes {', '.join(inputs)})")
    require(not module.training, f"model.name: {name} must be in eval mode (call model.eval() first)")
    try:
        traced = torch.export.export(module, (example_input,))
        exported = traced.module(check_guards=False)
    except Exception as error:  # torch.export raises what the model or any of its own layers raises
        raise ConfigError(f"model.name: torch.export cannot trace {name} ({first_line(error)})") from error
    _require_tensors(traced.call_spec.out_spec, name)
    assert isinstance(exported, fx.GraphModule)
    inline_blocks(exported)
    for node in exported.graph.nodes:
        require(
            node.op != "call_module" and (node.op != "call_function" or is_plain(node.target)),
            f"model.name: {name} uses {node.target}, which is not a plain aten operator, so it cannot be cut",
        )
    return exported


def _require_tensors(answer: Any, name: str) -> None:
    """Raise ConfigError unless a model's answer is one value or a flat tuple or list; answer: a TreeSpec."""
    flat = answer.is_leaf() or answer.type in (tuple, list, namedtuple)
    flat = flat and all(part.is_leaf() for part in answer.children())
    kind = getattr(answer.type, "__name__", answer.type)
    nested = f"{kind} with others inside" if answer.type in (tuple, list) else kind
    require(flat, f"model.name: {name} must return a tensor, or a tuple of tensors (it returns a {nested})")


def merge_tied(exported: fx.GraphModule) -> dict[str, Tensor]:
    """Parameters, buffers and constants by dotted name; a tensor with several names is kept under the first.

    Nodes that fetch it by another name are changed to use the first.
    """
    names: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    for node in exported.graph.nodes:
        if node.op == "get_attr":
            tensor = attribute(exported, str(node.target))
            node.target = names.setdefault(id(tensor), str(node.target))
            tensors[node.target] = tensor
    return tensors


def refuse_writes_to_own_tensors(calls: Sequence[fx.Node], memory: UnionFind, name: str) -> None:
    """Raise ConfigError for a model that changes its own tensors: stages would see different states."""
    own = {memory[arg] for node in calls for arg in node.all_input_nodes if arg.op == "get_attr"}
    for node in calls:
        bad = any(memory[target] in own for target in written(node))
        require(not bad, f"model.name: {name} changes its own parameters or buffers in eval mode ({node})")
