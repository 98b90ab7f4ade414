"""A model as a chain of layers and the cut points between them; stages as runnable modules. Pure.

A model is exported once to a flat list of aten operators (`export`); `cut_points` finds where it may be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.domain.checks import ConfigError, require
from pipeline.network.aliasing import Values, may_share, written
from pipeline.network.cut_points import Group, alive_between, cut_points
from pipeline.network.export import export, merge_tied, refuse_writes_to_own_tensors
from pipeline.network.layer import Cut, Flow, Layer, TensorSpec
from pipeline.network.operators import layer_of, own_tensors

if TYPE_CHECKING:
    from networkx.utils import UnionFind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model's layers and cuts. Layer k lies between cuts k and k + 1; see `Graph.of`."""

    name: str
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    _calls: tuple[Group, ...] = field(repr=False)
    """Operators of each layer."""
    _alive: tuple[Group, ...] = field(repr=False)
    """Nodes whose values are the tensors of each cut."""
    _values: Values = field(repr=False)
    _memory: UnionFind = field(repr=False)
    """Sets of nodes whose values may share memory."""
    _tensors: Mapping[str, Tensor] = field(repr=False)
    """Parameters, buffers and constants by dotted name."""

    @classmethod
    def of(cls, module: torch.nn.Module, example_input: Tensor, name: str) -> Self:
        """Export a model in eval mode and find its cuts; the model is not run.

        Shapes are static: stages take inputs of the example's shape. Raises ConfigError, with the reason, for
        a model that cannot be exported or cut: one with several inputs or data-dependent branches, one that
        uses something other than aten operators, changes its own tensors, or returns something other than
        tensors.
        """
        exported = export(module, example_input, name)
        tensors = merge_tied(exported)
        values = Values.of(exported.graph)
        for node in exported.graph.nodes:
            node.meta.clear()  # fake tensors and stack traces, which every stage would carry along
        calls = [node for node in exported.graph.nodes if node.op == "call_function"]
        require(len(calls) > 0, f"model.name: {name} has no operators")
        memory = may_share(values, calls)
        refuse_writes_to_own_tensors(calls, memory, name)
        (entry,) = (node for node in exported.graph.nodes if node.op == "placeholder")
        (output,) = (node for node in exported.graph.nodes if node.op == "output")
        singles = [(node,) for node in calls]
        alive = alive_between(singles, (entry,), tuple(output.args[0]))
        bounds = cut_points(singles, alive, values, memory)
        groups = tuple(tuple(calls[begin:end]) for begin, end in pairwise(bounds))
        return cls._chain(name, groups, tuple(alive[k] for k in bounds), values, memory, tensors)

    @classmethod
    def _chain(
        cls,
        name: str,
        groups: tuple[Group, ...],
        alive: tuple[Group, ...],
        values: Values,
        memory: UnionFind,
        tensors: Mapping[str, Tensor],
    ) -> Self:
        """The graph whose layers are these groups of operators, with `alive` at the cuts around them."""
        cuts = tuple(Cut(index, _boundary(nodes, values, name)) for index, nodes in enumerate(alive))
        layers = tuple(
            layer_of(index, group, {*alive[index], *group, *alive[index + 1]}, values, tensors)
            for index, group in enumerate(groups)
        )
        return cls(name, layers, cuts, groups, alive, values, memory, tensors)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def stage(self, begin: int, end: int) -> fx.GraphModule:
        """layers[begin:end] as a module of its own: from the tensors of cut `begin` to those of cut `end`.

        It takes the tensors as positional arguments and returns a tuple, both in the cut's order and with the
        shapes of its TensorSpecs. It shares the model's parameters but holds only those that it uses, and it
        never writes to its arguments. Raises ConfigError unless 0 <= begin < end <= len(self).
        """
        self._require_range(begin, end)
        graph = fx.Graph()
        copies = {node: graph.placeholder(node.name) for node in self._alive[begin]}
        calls = [node for group in self._calls[begin:end] for node in group]
        changed = {self._memory[target] for node in calls for target in written(node)}
        for node in self._alive[begin]:
            if self._memory[node] in changed:
                copies[node] = _copy_with_strides(graph, copies[node], self._values.specs[node])

        def copy(node: fx.Node) -> fx.Node:
            if node not in copies:  # only parameters and constants are still missing: fetch at first use
                args, kwargs = map_arg(node.args, copy), map_arg(node.kwargs, copy)
                copies[node] = graph.create_node(node.op, node.target, args, kwargs, node.name)
            return copies[node]

        for node in calls:
            copy(node)
        graph.output(tuple(copy(node) for node in self._alive[end]))
        own = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
        return fx.GraphModule({target: self._tensors[target] for target in own}, graph).eval()

    def flows(self) -> tuple[Flow, ...]:
        """Every tensor that flows between layers, and the model's input and outputs, sorted by producer."""
        users: dict[fx.Node, list[int]] = {}
        for layer, group in enumerate(self._calls):
            for node in {arg for call in group for arg in call.all_input_nodes}.difference(group):
                users.setdefault(node, []).append(layer)
        for node in set(self._alive[-1]):
            users.setdefault(node, []).append(len(self))
        return tuple(
            Flow(self._values.specs[node], producer, tuple(users[node]))
            for producer, group in enumerate((self._alive[0], *self._calls), start=-1)
            for node in group
            if node in users
        )

    def hazards(self) -> tuple[tuple[int, int], ...]:
        """Layers (i, j), i before j, that must keep their order although no tensor flows from i to j.

        One of the two writes to memory that the other reads, writes or aliases. Pairs that other pairs and
        flows imply may be left out. A set of layers may come first in `reordered` if it contains every layer
        that one of them needs by `flows` or `hazards`.
        """
        flowing = {(flow.producer, consumer) for flow in self.flows() for consumer in flow.consumers}
        pairs: set[tuple[int, int]] = set()
        writer: dict[fx.Node, int] = {}
        readers: dict[fx.Node, list[int]] = {}  # since the last write
        for layer, group in enumerate(self._calls):
            writes = {self._memory[target] for call in group for target in written(call)}
            touched = {self._memory[node] for call in group for node in (call, *call.all_input_nodes)}
            pairs |= {(writer[root], layer) for root in touched & writer.keys()}
            for root in writes:
                pairs |= {(reader, layer) for reader in readers.pop(root, [])}
                writer[root] = layer
            for root in touched - writes:
                readers.setdefault(root, []).append(layer)
        return tuple(sorted(pairs - flowing))

    def reordered(self, order: Sequence[int]) -> Self:
        """The same model with its layers in another order: its layer k is this graph's layer order[k].

        Raises ConfigError for an order that does not contain each layer once, and for one in which a layer
        comes before a layer that it needs by `flows` or `hazards`, naming the two.
        """
        count = len(self)
        require(
            sorted(order) == list(range(count)),
            f"order must hold each of the {count} layers of {self.name} once (order: {tuple(order)})",
        )
        place = {layer: position for position, layer in enumerate(order)} | {-1: -1, count: count}
        flowing = ((flow.producer, consumer) for flow in self.flows() for consumer in flow.consumers)
        for pairs, why in ((flowing, "whose result it needs"), (self.hazards(), "whose memory it shares")):
            for i, j in pairs:
                if place[i] > place[j]:
                    before, after = (f"layer {k} ({self.layers[k].name})" for k in (i, j))
                    raise ConfigError(f"order: {after} of {self.name} must come after {before}, {why}")
        groups = tuple(self._calls[layer] for layer in order)
        alive = tuple(alive_between(groups, self._alive[0], self._alive[-1]))
        # Two values that share memory and are both alive before a write to it were so in the old order too,
        # because all operators that touch the memory keep their order relative to the write. So no cut of
        # the old order lay between them and the write.
        assert len(cut_points(groups, alive, self._values, self._memory)) == count + 1
        return self._chain(self.name, groups, alive, self._values, self._memory, self._tensors)

    def stage_param_bytes(self, begin: int, end: int) -> int:
        """Bytes of the parameters, buffers and constants that a stage holds; a shared one counts once.

        Raises ConfigError unless 0 <= begin < end <= len(self).
        """
        self._require_range(begin, end)
        own = own_tensors(node for group in self._calls[begin:end] for node in group)
        return sum(self._tensors[target].nbytes for target in own)

    def stage_peak_bytes(self, begin: int, end: int) -> int:
        """The most bytes of activations alive at once in a stage: the largest peak of its layers.

        Raises ConfigError unless 0 <= begin < end <= len(self).
        """
        self._require_range(begin, end)
        return max(layer.peak_bytes for layer in self.layers[begin:end])

    def stage_param_bytes_table(self) -> Floats:
        """`stage_param_bytes` of all stages: (layers + 1, layers + 1) by [begin, end], 0 if end <= begin."""
        count = len(self)
        steps = np.zeros((count + 2, count + 2))
        last_user: dict[str, int] = {}
        for layer, group in enumerate(self._calls):
            for target in own_tensors(group):
                # The layer is the first user in stages that begin after the previous user and end after it.
                size, begin = self._tensors[target].nbytes, last_user.get(target, -1) + 1
                steps[begin, layer + 1] += size
                steps[layer + 1, layer + 1] -= size
                last_user[target] = layer
        return steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]

    def stage_peak_bytes_table(self) -> Floats:
        """`stage_peak_bytes` of all stages: (layers + 1, layers + 1) by [begin, end], 0 if end <= begin."""
        peaks = np.array([0.0, *(layer.peak_bytes for layer in self.layers)])
        alone = np.triu(np.broadcast_to(peaks, (len(peaks), len(peaks))), k=1)
        return np.maximum.accumulate(alone, axis=1)

    def _require_range(self, begin: int, end: int) -> None:
        require(
            0 <= begin < end <= len(self),
            f"a stage of {self.name} needs 0 <= begin < end <= {len(self)} (begin: {begin}, end: {end})",
        )


def _copy_with_strides(graph: fx.Graph, node: fx.Node, spec: TensorSpec) -> fx.Node:
    """A copy of a tensor with the same strides, even if there are gaps between its elements."""
    aten = torch.ops.aten
    if not spec.shape:
        return graph.call_function(aten.clone.default, (node,))
    # `clone` would leave the gaps out. A scatter copies the memory as it is; this one then writes no element.
    nothing = graph.call_function(aten.slice.Tensor, (node, 0, 0, 0))
    return graph.call_function(aten.slice_scatter.default, (node, nothing, 0, 0, 0))


def _boundary(nodes: Sequence[fx.Node], values: Values, name: str) -> tuple[TensorSpec, ...]:
    bad = [node for node in nodes if node not in values.specs]
    require(not bad, f"model.name: {name} must return tensors only (it returns {bad})")
    return tuple(values.specs[node] for node in nodes)
