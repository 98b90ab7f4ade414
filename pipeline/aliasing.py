"""Which values of an exported model share memory, and which operators write to it. Pure."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.domain import TensorSpec


class Trace(fx.Interpreter):
    """Runs a model once and notes each value's spec, and which storages it really lies in.

    Schemas do not tell: in eval mode `dropout` returns its very argument, though declared as a new tensor.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.specs: dict[fx.Node, TensorSpec] = {}
        """Of nodes whose value is a tensor."""
        self.storages: dict[fx.Node, dict[int, int]] = {}
        """Bytes of each storage behind a node's value, by a number of its own."""
        self._numbers: dict[fx.Node, dict[int, int]] = {}
        """Numbers of those storages by address, which is good only while the value lives."""
        self._next = itertools.count()

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and note its value; called by `run`, which frees values after their last use."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.specs[n] = _spec(n.name, value)
        # A result can share memory only with an argument, so what was freed meanwhile does not matter.
        known = {address: x for arg in n.all_input_nodes for address, x in self._numbers[arg].items()}
        sizes = _storages(value)
        self._numbers[n] = {a: known[a] if a in known else next(self._next) for a in sizes}
        self.storages[n] = {self._numbers[n][address]: size for address, size in sizes.items()}
        return value


def _spec(name: str, value: Tensor) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSpec(name, tuple(value.shape), dtype, value.numel() * value.element_size())


def _storages(value: Any) -> dict[int, int]:
    """Bytes of each storage behind a tensor or a sequence of tensors, by address."""
    items = value if isinstance(value, list | tuple) else [value]
    storages = [item.untyped_storage() for item in items if isinstance(item, Tensor)]
    return {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes() > 0}


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


def may_share(trace: Trace, calls: Sequence[fx.Node]) -> Sets:
    """Sets of nodes whose values may share memory: seen to in the trace, or declared so by a schema.

    Both, as `reshape` may alias on one device and copy on another.
    """
    return Sets(
        (node, arg)
        for node in calls
        for arg in itertools.chain(
            (a for a in node.all_input_nodes if trace.storages[node].keys() & trace.storages[a].keys()),
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
