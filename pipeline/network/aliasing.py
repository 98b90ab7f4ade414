"""Which values of an exported model share memory, and which operators write to it. Pure."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.network.layer import TensorSpec


@dataclass(frozen=True, eq=False)
class Values:
    """What torch.export noted of every value of a model, without computing any.

    Schemas do not tell: `einsum` may return a view of its argument, though declared as a new tensor.
    """

    specs: Mapping[fx.Node, TensorSpec]
    """Of nodes whose value is a tensor."""
    storages: Mapping[fx.Node, Mapping[int, int]]
    """Bytes of each storage behind a node's value, by a number of its own."""

    @classmethod
    def of(cls, graph: fx.Graph) -> Self:
        """Read them off an exported graph, whose nodes must still have their `meta`."""
        specs: dict[fx.Node, TensorSpec] = {}
        storages: dict[fx.Node, Mapping[int, int]] = {}
        truly: dict[int, Mapping[int, int]] = {}  # where a storage that torch.export made up really lies
        for node in graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, Tensor):
                specs[node] = _spec(node.name, value)
            noted = _storages(value)
            if _is_idle_dropout(node):
                truly |= dict.fromkeys(noted, storages[node.args[0]])
            real = [truly.get(number, {number: size}) for number, size in noted.items()]
            storages[node] = dict(pair for sizes in real for pair in sizes.items())
        return cls(specs, storages)


def _spec(name: str, value: Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSpec(name, tuple(value.shape), dtype, value.numel() * value.element_size())


def _storages(value: Any) -> dict[int, int]:
    """Bytes of each storage behind a tensor or a sequence of tensors, by its address."""
    items = value if isinstance(value, list | tuple) else [value]
    storages = [item.untyped_storage() for item in items if isinstance(item, Tensor)]
    return {storage._cdata: storage.nbytes() for storage in storages if storage.nbytes() > 0}


def _is_idle_dropout(node: fx.Node) -> bool:
    """Dropout in eval mode returns its very argument; torch.export alone takes it for a copy."""
    if node.target is not torch.ops.aten.dropout.default:
        return False
    named = arguments(node)
    return not (named["train"] and named["p"])


class Sets:
    """Disjoint sets of nodes: union-find with path halving (Tarjan and van Leeuwen 1984)."""

    def __init__(self, pairs: Iterable[tuple[fx.Node, fx.Node]]) -> None:
        self._parent: dict[fx.Node, fx.Node] = {}
        for a, b in pairs:
            self._parent[self.find(a)] = self.find(b)

    def find(self, node: fx.Node) -> fx.Node:
        """The node that stands for this one's set."""
        parent = self._parent
        while (above := parent.get(node, node)) is not node:
            parent[node] = parent.get(above, above)
            node = parent[node]
        return node


def may_share(values: Values, calls: Sequence[fx.Node]) -> Sets:
    """Sets of nodes whose values may share memory: seen to by torch.export, or declared so by a schema.

    Both, as `reshape` may alias on one device and copy on another.
    """
    return Sets(
        (node, arg)
        for node in calls
        for arg in itertools.chain(
            (a for a in node.all_input_nodes if values.storages[node].keys() & values.storages[a].keys()),
            _returnable(node),
        )
    )


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of an aten call by their names in the schema, defaults included."""
    schema = _schema(node).arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False))
    return {argument.name: argument.default_value for argument in schema} | given | node.kwargs


def written(node: fx.Node) -> list[fx.Node]:
    """Nodes whose values an in-place call changes."""
    if node.target is operator.getitem:
        return []
    return [arg for arg, is_write in _aliased(node) if is_write]


def _returnable(node: fx.Node) -> list[fx.Node]:
    """Arguments whose memory, by the schema, the result may be."""
    if node.target is operator.getitem:
        return node.all_input_nodes
    if all(value.alias_info is None for value in _schema(node).returns):
        return []
    return [arg for arg, _ in _aliased(node)]


def _aliased(node: fx.Node) -> Iterator[tuple[fx.Node, bool]]:
    """Argument nodes that the schema annotates as shared, and whether the call writes to them."""
    values = arguments(node)
    for argument in _schema(node).arguments:
        if argument.alias_info is not None:
            found: list[fx.Node] = []
            map_arg(values[argument.name], found.append)
            yield from ((arg, argument.alias_info.is_write) for arg in found)


def _schema(node: fx.Node) -> Any:
    return node.target._schema  # type: ignore[union-attr]
