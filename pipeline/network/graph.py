"""A model as a chain of layers and the cut points between them; stages as runnable modules. Pure.

A model is exported once to a flat list of aten operators. A place between two of them is a cut point
if sending the tensors alive there, and nothing else, lets the rest of the model go on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.domain.checks import ConfigError, require
from pipeline.network.aliasing import Sets, Values, may_share, written
from pipeline.network.cut_points import Group, alive_between, cut_points
from pipeline.network.layer import Cut, Layer, TensorSpec
from pipeline.network.operators import layer_of, own_tensors
from pipeline.network.stage_program import attribute, is_plain

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Flow:
    """A tensor that flows between layers. A cut is crossed by those made before it and used after it."""

    tensor: TensorSpec
    producer: int
    """The layer that makes it; -1: it is the model's input."""
    consumers: tuple[int, ...]
    """The other layers that use it, rising; len(graph): it is the model's output."""


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
    _memory: Sets = field(repr=False)
    _tensors: Mapping[str, Tensor] = field(repr=False)
    """Parameters, buffers and constants by dotted name."""

    @classmethod
    def of(cls, module: torch.nn.Module, example_input: Tensor, name: str) -> Self:
        """Export a model in eval mode, and read off the export which values share memory; it is not run.

        Shapes are static: stages take inputs of the example's shape. Raises ConfigError, with the
        reason, for a model that cannot be exported or that uses something other than aten operators.
        """
        exported = _export(module, example_input, name)
        tensors = _merge_tied(exported)
        values = Values.of(exported.graph)
        for node in exported.graph.nodes:
            node.meta.clear()  # fake tensors and stack traces, which every stage would carry along
        calls = [node for node in exported.graph.nodes if node.op == "call_function"]
        require(len(calls) > 0, f"model.name: {name} has no operators")
        memory = may_share(values, calls)
        _refuse_writes_to_own_tensors(calls, memory, name)
        (entry,) = (node for node in exported.graph.nodes if node.op == "placeholder")
        (leave,) = (node for node in exported.graph.nodes if node.op == "output")
        singly = [(node,) for node in calls]
        alive = alive_between(singly, (entry,), tuple(leave.args[0]))
        bounds = cut_points(singly, alive, values, memory)
        groups = tuple(tuple(calls[begin:end]) for begin, end in pairwise(bounds))
        return cls._chain(name, groups, tuple(alive[k] for k in bounds), values, memory, tensors)

    @classmethod
    def _chain(
        cls,
        name: str,
        groups: tuple[Group, ...],
        alive: tuple[Group, ...],
        values: Values,
        memory: Sets,
        tensors: Mapping[str, Tensor],
    ) -> Self:
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
        """layers[begin:end] as a module of its own: the tensors of cut `begin` in, those of cut `end` out.

        It takes the tensors as positional arguments and returns a tuple, both in the cut's order. It
        shares the model's parameters, but holds only those it uses; it never writes to its arguments.
        """
        self._require_range(begin, end)
        graph = fx.Graph()
        copies = {node: graph.placeholder(node.name) for node in self._alive[begin]}
        calls = [node for group in self._calls[begin:end] for node in group]
        changed = {self._memory.find(target) for node in calls for target in written(node)}
        for node in self._alive[begin]:
            if self._memory.find(node) in changed:
                copies[node] = graph.call_function(torch.ops.aten.clone.default, (copies[node],))

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
        """Every tensor that flows between layers, with the model's input and output, by producer."""
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
        """Pairs (i, j), i before j, of layers that must keep their order though nothing flows from i to j.

        One writes to memory that the other reads, writes, or makes another name of. Pairs that follow from
        other pairs and flows may be left out. A set of layers that holds, with each layer, all that it needs
        by `flows` and `hazards` may come first in `reordered`.
        """
        flowing = {(flow.producer, consumer) for flow in self.flows() for consumer in flow.consumers}
        pairs: set[tuple[int, int]] = set()
        writer: dict[fx.Node, int] = {}
        readers: dict[fx.Node, list[int]] = {}  # since the last write
        for layer, group in enumerate(self._calls):
            writes = {self._memory.find(target) for call in group for target in written(call)}
            touched = {self._memory.find(node) for call in group for node in (call, *call.all_input_nodes)}
            pairs |= {(writer[root], layer) for root in touched & writer.keys()}
            for root in writes:
                pairs |= {(reader, layer) for reader in readers.pop(root, [])}
                writer[root] = layer
            for root in touched - writes:
                readers.setdefault(root, []).append(layer)
        return tuple(sorted(pairs - flowing))

    def reordered(self, order: Sequence[int]) -> Self:
        """The same model with its layers in that order, as a chain again: layer k is this chain's order[k].

        Raises ConfigError naming two layers where one would come before another that it needs by `flows`
        or `hazards`.
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
        # Two names of one memory, alive together before a write, were so in the old order too, as all that
        # touches the memory keeps its order to the write; and there no cut lay between them.
        assert len(cut_points(groups, alive, self._values, self._memory)) == count + 1
        return self._chain(self.name, groups, alive, self._values, self._memory, self._tensors)

    def stage_param_bytes(self, begin: int, end: int) -> int:
        """Bytes of the parameters, buffers and constants that a stage holds; shared ones count once."""
        self._require_range(begin, end)
        own = own_tensors(node for group in self._calls[begin:end] for node in group)
        return sum(self._tensors[target].nbytes for target in own)

    def stage_peak_bytes(self, begin: int, end: int) -> int:
        """The most bytes of activations alive at once in a stage: the peak of its hungriest layer."""
        self._require_range(begin, end)
        return max(layer.peak_bytes for layer in self.layers[begin:end])

    def stage_param_bytes_table(self) -> Floats:
        """`stage_param_bytes` of all stages at once: [begin, end], 0 where end <= begin."""
        count = len(self)
        steps = np.zeros((count + 2, count + 2))
        last_user: dict[str, int] = {}
        for layer, group in enumerate(self._calls):
            for target in own_tensors(group):
                # The layer is the first user in stages that begin after the last one and end after it.
                size, begin = self._tensors[target].nbytes, last_user.get(target, -1) + 1
                steps[begin, layer + 1] += size
                steps[layer + 1, layer + 1] -= size
                last_user[target] = layer
        return steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]

    def stage_peak_bytes_table(self) -> Floats:
        """`stage_peak_bytes` of all stages at once: [begin, end], 0 where end <= begin."""
        peaks = np.array([0.0, *(layer.peak_bytes for layer in self.layers)])
        alone = np.triu(np.broadcast_to(peaks, (len(peaks), len(peaks))), k=1)
        return np.maximum.accumulate(alone, axis=1)

    def _require_range(self, begin: int, end: int) -> None:
        require(
            0 <= begin < end <= len(self),
            f"a stage of {self.name} needs 0 <= begin < end <= {len(self)} (begin: {begin}, end: {end})",
        )


def _export(module: torch.nn.Module, example_input: Tensor, name: str) -> fx.GraphModule:
    """The model as a flat graph of aten operators with one input and static shapes."""
    parameters = inspect.signature(module.forward).parameters.values()
    inputs = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    require(len(inputs) <= 1, f"model.name: {name} must take one input (it takes {', '.join(inputs)})")
    require(not module.training, f"model.name: {name} must be in eval mode (call model.eval() first)")
    try:
        exported = torch.export.export(module, (example_input,)).module(check_guards=False)
    except Exception as error:  # torch.export raises what the model or any of its own layers raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model.name: torch.export cannot trace {name} ({reason})") from error
    assert isinstance(exported, fx.GraphModule)
    for node in exported.graph.nodes:
        require(
            node.op != "call_module" and (node.op != "call_function" or is_plain(node.target)),
            f"model.name: {name} uses {node.target}, which is no plain aten operator, so it cannot be cut",
        )
    return exported


def _merge_tied(exported: fx.GraphModule) -> dict[str, Tensor]:
    """Tensors by name; nodes that fetch a tied one are pointed at the first of its names."""
    names: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    for node in exported.graph.nodes:
        if node.op == "get_attr":
            tensor = attribute(exported, str(node.target))
            node.target = names.setdefault(id(tensor), str(node.target))
            tensors[node.target] = tensor
    return tensors


def _refuse_writes_to_own_tensors(calls: Sequence[fx.Node], memory: Sets, name: str) -> None:
    """A model that changes its own tensors cannot be cut: stages would see different states of them."""
    own = {memory.find(arg) for node in calls for arg in node.all_input_nodes if arg.op == "get_attr"}
    for node in calls:
        bad = any(memory.find(target) in own for target in written(node))
        require(not bad, f"model.name: {name} changes its own parameters or buffers in eval mode ({node})")


def _boundary(nodes: Sequence[fx.Node], values: Values, name: str) -> tuple[TensorSpec, ...]:
    bad = [node for node in nodes if node not in values.specs]
    require(not bad, f"model.name: {name} must return tensors only (it returns {bad})")
    return tuple(values.specs[node] for node in nodes)
