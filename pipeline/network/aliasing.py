"""The values of an exported model that share memory, and the operators that write to it. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.network.layer import TensorSpec

if TYPE_CHECKING:
    from networkx.utils import UnionFind


@dataclass(frozen=True, eq=False)
class Values:
    """Shape, type and storage of every value of a model, as torch.export recorded them; none is computed.

    Schemas do not suffice: `einsum` may return a view of its argument although its schema declares a new
    tensor.
    """

    specs: Mapping[fx.Node, TensorSpec]
    """Name, shape, dtype and size of each node's value; only nodes whose value is a tensor."""
    storages: Mapping[fx.Node, Mapping[int, int]]
    """Bytes of each storage behind a node's value, by the storage's identifier."""

    @classmethod
    def of(cls, graph: fx.Graph) -> Self:
        """Read the values of an exported graph, whose nodes must still have their `meta`."""
        specs: dict[fx.Node, TensorSpec] = {}
        storages: dict[fx.Node, Mapping[int, int]] = {}
        actual: dict[int, Mapping[int, int]] = {}  # the storages that the export replaced by one of its own
        for node in graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, Tensor):
                specs[node] = _spec(node.name, value)
            recorded = _storages(value)
            if _is_idle_dropout(node):
                actual |= dict.fromkeys(recorded, storages[node.args[0]])
            found = [actual.get(storage, {storage: size}) for storage, size in recorded.items()]
            storages[node] = dict(pair for sizes in found for pair in sizes.items())
        return cls(specs, storages)


def _spec(name: str, value: Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSpec(name, tuple(value.shape), dtype, value.numel() * value.element_size())


def _storages(value: Any) -> dict[int, int]:
    """Bytes of each storage behind a tensor or a sequence of tensors, by the storage's identifier."""
    items = value if isinstance(value, list | tuple) else [value]
    storages = [item.untyped_storage() for item in items if isinstance(item, Tensor)]
    return {storage._cdata: storage.nbytes() for storage in storages if storage.nbytes() > 0}


def _is_idle_dropout(node: fx.Node) -> bool:
    """Whether this is a dropout that returns its argument itself; torch.export records a copy instead."""
    if node.target is not torch.ops.aten.dropout.default:
        return False
    named = arguments(node)
    return not (named["train"] and named["p"])


def may_share(values: Values, calls: Sequence[fx.Node]) -> UnionFind:
    """Disjoint sets of nodes whose values may share memory; `sets[node]` is the representative of its set.

    Two values may share memory if they did when torch.export recorded them or if a schema declares so. Both
    count because an operator such as `reshape` may alias on one device and copy on another.
    """
    from networkx.utils import UnionFind  # networkx takes a third of a second to import

    sets = UnionFind()
    for node in calls:
        storages = values.storages[node].keys()
        shared = [arg for arg in node.all_input_nodes if storages & values.storages[arg].keys()]
        sets.union(node, *shared, *_returnable(node))
    return sets


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call of an aten operator by their names in the schema, defaults included."""
    schema = _schema(node).arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False))
    return {argument.name: argument.default_value for argument in schema} | given | node.kwargs


def written(node: fx.Node) -> list[fx.Node]:
    """Nodes whose values a call changes in place."""
    if node.target is operator.getitem:
        return []
    return [arg for arg, is_write in _aliased(node) if is_write]


def _returnable(node: fx.Node) -> list[fx.Node]:
    """Arguments whose memory the result may share according to the schema."""
    if node.target is operator.getitem:
        return node.all_input_nodes
    if all(value.alias_info is None for value in _schema(node).returns):
        return []
    return [arg for arg, _ in _aliased(node)]


def _aliased(node: fx.Node) -> Iterator[tuple[fx.Node, bool]]:
    """Each argument node that the schema annotates as aliased, and whether the call writes to it."""
    values = arguments(node)
    for argument in _schema(node).arguments:
        if argument.alias_info is not None:
            found: list[fx.Node] = []
            map_arg(values[argument.name], found.append)
            yield from ((arg, argument.alias_info.is_write) for arg in found)


def _schema(node: fx.Node) -> Any:
    return node.target._schema  # type: ignore[union-attr]
