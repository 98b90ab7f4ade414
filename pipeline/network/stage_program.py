"""A stage as JSON and tensors, never pickle, so that it can be sent to another process. Pure.

A device's process imports this module: it needs torch, but none of the libraries that models come from.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, fx

from pipeline.domain.checks import ConfigError, require

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ATTRIBUTE = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
"""Dashes are allowed because RegNet's names have them. Quotes are not: torch.fx puts a part that is not an
identifier in quotes."""
_TARGET = re.compile(r"aten\.(\w+)\.(\w+)", re.ASCII)
_FILE_OPERATORS = frozenset({"from_file"})
"""aten operators that open files: the only ones that access anything besides their tensors."""
Encoded = Any
"""A value that json.dumps accepts."""


def is_plain(target: Any) -> bool:
    """Whether a program may call this: an overload of an aten operator that opens no file, or getitem."""
    if target is operator.getitem:
        return True
    return (
        isinstance(target, torch._ops.OpOverload)
        and target.namespace == "aten"
        and target._opname not in _FILE_OPERATORS
    )


def attribute(module: torch.nn.Module, path: str) -> Tensor:
    """The tensor at a dotted path such as `features.0.weight`."""
    return cast(Tensor, reduce(getattr, path.split("."), module))


def program(module: fx.GraphModule) -> tuple[dict[str, Encoded], dict[str, Tensor]]:
    """A stage as {"nodes": [...]}, a JSON value, and its tensors by attribute name.

    Raises ConfigError for a node or an argument that a program cannot contain.
    """
    nodes = [_encode_node(node) for node in module.graph.nodes]
    names = [str(node.target) for node in module.graph.nodes if node.op == "get_attr"]
    return {"nodes": nodes}, {name: attribute(module, name).detach() for name in names}


def from_program(description: Mapping[str, Encoded], tensors: Mapping[str, Tensor]) -> fx.GraphModule:
    """The stage that `program` described; its tensors become buffers.

    torch.fx turns a graph into Python source, so every name is checked before it becomes part of the graph,
    and operators come from aten only. Raises ConfigError for anything that `program` cannot have written.
    """
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    try:
        for entry in description["nodes"]:
            nodes[entry["name"]] = _decode_node(graph, entry, nodes, tensors)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ConfigError(f"program: malformed description ({type(error).__name__}: {error})") from error
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return fx.GraphModule({name: tensors[name] for name in used}, graph).eval()


def _encode_node(node: fx.Node) -> dict[str, Encoded]:
    """{op, name}, and target, args and kwargs where the op has them."""
    entry: dict[str, Encoded] = {"op": node.op, "name": node.name}
    if node.op == "get_attr":
        return entry | {"target": str(node.target)}
    if node.op == "placeholder":
        return entry
    if node.op == "output":
        return entry | {"args": [_encode(arg) for arg in node.args]}
    require(
        node.op == "call_function" and is_plain(node.target),
        f"program: node {node.name} must call an aten operator or getitem (it is {node.op} {node.target})",
    )
    target = "getitem" if node.target is operator.getitem else str(node.target)
    args = [_encode(arg) for arg in node.args]
    return entry | {
        "target": target,
        "args": args,
        "kwargs": {key: _encode(value) for key, value in node.kwargs.items()},
    }


def _decode_node(
    graph: fx.Graph, entry: Mapping[str, Encoded], nodes: Mapping[str, fx.Node], tensors: Mapping[str, Tensor]
) -> fx.Node:
    """Append the described node to the graph and return it."""
    op, name = entry["op"], _checked(_IDENTIFIER, entry["name"], "a node's name")
    if op == "placeholder":
        return graph.placeholder(name)
    if op == "get_attr":
        path = _checked(_ATTRIBUTE, entry["target"], "a tensor's name")
        require(path in tensors, f"program: tensor {path!r} is missing (got {len(tensors)} tensors)")
        return graph.create_node("get_attr", path, name=name)
    args = tuple(_decode(arg, nodes) for arg in entry["args"])
    if op == "output":
        return graph.create_node("output", "output", args, name=name)
    require(op == "call_function", f"program: unknown kind of node {op!r}")
    kwargs = {
        _checked(_IDENTIFIER, key, "a keyword"): _decode(value, nodes)
        for key, value in entry["kwargs"].items()
    }
    return graph.create_node("call_function", _resolve(entry["target"]), args, kwargs, name=name)


def _resolve(target: Encoded) -> Callable[..., Any]:
    """The operator called `getitem` or, as in `aten.conv2d.default`, `aten.OPERATOR.OVERLOAD`."""
    if target == "getitem":
        return operator.getitem
    match = _TARGET.fullmatch(target) if isinstance(target, str) else None
    packet = getattr(torch.ops.aten, match[1], None) if match else None
    found = getattr(packet, match[2], None) if match and packet is not None else None
    require(is_plain(found), f"program: target must be an aten operator such as aten.add.Tensor ({target!r})")
    return cast(Callable[..., Any], found)


def _checked(pattern: re.Pattern[str], text: Encoded, what: str) -> str:
    require(
        isinstance(text, str) and pattern.fullmatch(text) is not None,
        f"program: {what} must match {pattern.pattern} ({text!r})",
    )
    return cast(str, text)


_TORCH_NOUNS = (torch.dtype, torch.memory_format, torch.layout)


def _encode(value: Any) -> Encoded:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, slice):
        return {"slice": [_encode(item) for item in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, _TORCH_NOUNS):
        return {"torch": str(value).removeprefix("torch.")}
    raise ConfigError(f"program: an argument of type {type(value).__name__} cannot be described ({value!r})")


def _decode(value: Encoded, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    require(len(value) == 1, f"program: an argument must have one key, its type ({value!r})")
    ((kind, content),) = value.items()
    if kind == "node":
        require(content in nodes, f"program: node {content!r} is used before it is defined")
        return nodes[content]
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(_decode(item, nodes) for item in content)
    if kind == "slice":
        return slice(*(_decode(item, nodes) for item in content))
    if kind == "device":
        return torch.device(content)
    if kind == "torch":
        noun = getattr(torch, content, None)
        require(isinstance(noun, _TORCH_NOUNS), f"program: unknown dtype, layout or format {content!r}")
        return noun
    raise ConfigError(f"program: unknown type of argument {kind!r}")
