"""A model as a chain of layers and the cut points between them; stages as runnable modules. Pure.

A model is exported once to a flat list of aten operators. A place between two of them is a cut point
if sending the tensors alive there, and nothing else, lets the rest of the model go on.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.aliasing import Sets, Trace, arguments, may_share, written
from pipeline.domain import ConfigError, Cut, Layer, TensorSpec, require
from pipeline.program import attribute, is_plain

_CONVOLUTIONS = frozenset(
    {"conv1d", "conv2d", "conv3d", "convolution"} | {f"conv_transpose{dims}d" for dims in (1, 2, 3)}
)


@dataclass(frozen=True, eq=False)
class Graph:
    """A model's layers and cuts. Layer k lies between cuts k and k + 1; see `Graph.of`."""

    name: str
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    _calls: tuple[tuple[fx.Node, ...], ...] = field(repr=False)
    """Operators of each layer."""
    _alive: tuple[tuple[fx.Node, ...], ...] = field(repr=False)
    """Nodes whose values are the tensors of each cut."""
    _memory: Sets = field(repr=False)
    _tensors: Mapping[str, Tensor] = field(repr=False)
    """Parameters, buffers and constants by dotted name."""

    @classmethod
    def of(cls, module: torch.nn.Module, example_input: Tensor, name: str) -> Self:
        """Export a model in eval mode, and run it once on the example to see shapes and shared memory.

        Shapes are static: stages take inputs of the example's shape. Raises ConfigError, with the
        reason, for a model that cannot be exported or that uses something other than aten operators.
        """
        exported = _export(module, example_input, name)
        tensors = _merge_tied(exported)
        trace = Trace(exported)
        with torch.no_grad():
            trace.run(example_input.clone())
        calls = [node for node in exported.graph.nodes if node.op == "call_function"]
        require(len(calls) > 0, f"model.name: {name} has no operators")
        memory = may_share(trace, calls)
        _refuse_writes_to_own_tensors(calls, memory, name)
        bounds, alive = _cut_points(exported.graph, calls, trace, memory)
        cuts = tuple(Cut(index, _boundary(nodes, trace, name)) for index, nodes in enumerate(alive))
        groups = tuple(tuple(calls[begin:end]) for begin, end in pairwise(bounds))
        layers = tuple(
            _layer(index, group, {*alive[index], *group, *alive[index + 1]}, trace, tensors)
            for index, group in enumerate(groups)
        )
        return cls(name, layers, cuts, groups, tuple(alive), memory, tensors)

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

    def stage_param_bytes(self, begin: int, end: int) -> int:
        """Bytes of the parameters, buffers and constants that a stage holds; shared ones count once."""
        self._require_range(begin, end)
        own = _own_tensors(node for group in self._calls[begin:end] for node in group)
        return sum(self._tensors[target].nbytes for target in own)

    def stage_peak_bytes(self, begin: int, end: int) -> int:
        """The most bytes of activations alive at once in a stage: the peak of its hungriest layer."""
        self._require_range(begin, end)
        return max(layer.peak_bytes for layer in self.layers[begin:end])

    def _require_range(self, begin: int, end: int) -> None:
        require(
            0 <= begin < end <= len(self),
            f"a stage of {self.name} needs 0 <= begin < end <= {len(self)} (begin: {begin}, end: {end})",
        )


# --- export ---------------------------------------------------------------------------------------


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
        node.meta.clear()  # fake tensors and stack traces, which every stage would carry along
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


# --- cuts -----------------------------------------------------------------------------------------


def _cut_points(
    graph: fx.Graph, calls: Sequence[fx.Node], trace: Trace, memory: Sets
) -> tuple[list[int], list[tuple[fx.Node, ...]]]:
    """Positions p where the model may be cut before calls[p], and the nodes alive at each.

    All alive must be tensors, and no two of them may share memory that a later call writes to: sent as
    separate tensors they would no longer see each other change.
    """
    (entry,) = (node for node in graph.nodes if node.op == "placeholder")
    (leave,) = (node for node in graph.nodes if node.op == "output")
    outputs = tuple(leave.args[0])
    last_use = {arg: position for position, node in enumerate(calls) for arg in node.all_input_nodes}
    last_use |= dict.fromkeys(outputs, len(calls))
    last_write = {memory.find(t): position for position, node in enumerate(calls) for t in written(node)}
    bounds, boundaries = [0], [(entry,)]
    alive = [entry]
    for position in range(1, len(calls)):
        alive = [node for node in (*alive, calls[position - 1]) if last_use.get(node, -1) >= position]
        roots = [memory.find(node) for node in alive]
        shared = {root for root in roots if roots.count(root) > 1}
        tensors = all(node in trace.specs for node in alive)
        if tensors and all(last_write.get(root, -1) < position for root in shared):
            bounds.append(position)
            boundaries.append(tuple(alive))
    return [*bounds, len(calls)], [*boundaries, outputs]


def _boundary(nodes: Sequence[fx.Node], trace: Trace, name: str) -> tuple[TensorSpec, ...]:
    bad = [node for node in nodes if node not in trace.specs]
    require(not bad, f"model.name: {name} must return tensors only (it returns {bad})")
    return tuple(trace.specs[node] for node in nodes)


# --- layers ---------------------------------------------------------------------------------------


def _layer(
    index: int,
    calls: Sequence[fx.Node],
    alive: Iterable[fx.Node],
    trace: Trace,
    tensors: Mapping[str, Tensor],
) -> Layer:
    """The layer of these calls; `alive` are all nodes whose values exist at some time while it runs."""
    costs = [_eq5_cost(node, trace, tensors) for node in calls]
    heaviest = calls[costs.index(max(costs))] if any(costs) else calls[-1]
    storages = {number: size for node in alive for number, size in trace.storages[node].items()}
    return Layer(
        index=index,
        name=heaviest.name,
        op=_operator_name(heaviest, trace),
        eq5_cost=sum(costs),
        param_bytes=sum(tensors[target].nbytes for target in _own_tensors(calls)),
        peak_bytes=sum(storages.values()),
    )


def _own_tensors(calls: Iterable[fx.Node]) -> set[str]:
    """Names of the parameters, buffers and constants that calls use."""
    return {str(arg.target) for node in calls for arg in node.all_input_nodes if arg.op == "get_attr"}


def _is_convolution(node: fx.Node) -> bool:
    return node.target is not operator.getitem and node.target._opname in _CONVOLUTIONS  # type: ignore[union-attr]


def _channels(node: fx.Node, trace: Trace) -> tuple[int, int, int]:
    """Input channels, output channels and kernel size (kh*kw) of a convolution, transposed or not."""
    values = arguments(node)
    kernel = trace.specs[values["weight"]].shape[2:]
    axis = -1 - len(kernel)
    cin, cout = trace.specs[values["input"]].shape[axis], trace.specs[node].shape[axis]
    return cin, cout, math.prod(kernel)


def _operator_name(node: fx.Node, trace: Trace) -> str:
    if node.target is operator.getitem:
        return "getitem"
    opname = str(node.target._opname)  # type: ignore[union-attr]
    depthwise = _is_convolution(node) and arguments(node)["groups"] == _channels(node, trace)[0] > 1
    return f"{opname}_depthwise" if depthwise else opname


def _eq5_cost(node: fx.Node, trace: Trace, tensors: Mapping[str, Tensor]) -> int:
    """Eq. 5 of the paper: kh*kw*Cin*Cout, Nin*Nout, or the number of parameters.

    As in the paper, Cin are all input channels, whatever the groups: depthwise layers are overrated.
    """
    if _is_convolution(node):
        return math.prod(_channels(node, trace))
    if _operator_name(node, trace) == "linear":
        return math.prod(trace.specs[arguments(node)["weight"]].shape)
    own = (tensors[target] for target in _own_tensors([node]))
    return sum(tensor.numel() for tensor in own if isinstance(tensor, torch.nn.Parameter))
