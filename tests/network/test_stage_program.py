"""Programs keep every kind of argument, and from_program refuses anything that program does not write."""

from __future__ import annotations

import json
import math
import operator
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from pipeline.domain.checks import ConfigError
from pipeline.network.stage_program import from_program, program

aten = torch.ops.aten


def one_call(target: Any, *args: Any, **kwargs: Any) -> fx.GraphModule:
    """x -> target(x, *args, **kwargs)."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_function(target, (x, *args), kwargs),))
    return fx.GraphModule({}, graph)


def there_and_back(module: fx.GraphModule) -> fx.GraphModule:
    description, tensors = program(module)
    return from_program(json.loads(json.dumps(description)), tensors)


@given(st.floats())
def test_every_float_survives(value: float) -> None:
    module = there_and_back(one_call(aten.add.Tensor, value))
    (back,) = (node.args[1] for node in module.graph.nodes if node.op == "call_function")
    assert isinstance(back, float)
    assert math.isnan(back) if math.isnan(value) else (back.hex() == value.hex())


@pytest.mark.parametrize(
    ("target", "args", "kwargs"),
    [
        (aten.sum.dim_IntList, ([0, 1],), {"keepdim": True, "dtype": torch.float64}),
        (
            aten.to.dtype_layout,
            (),
            {"dtype": torch.float16, "layout": torch.strided, "device": torch.device("cpu")},
        ),
        (aten.contiguous.default, (), {"memory_format": torch.channels_last}),
        (aten.clamp.default, (None, math.inf), {}),
        (aten.slice.Tensor, (1, 0, 9223372036854775807), {}),
        (aten.pad.default, ([1, 1], "constant", -math.inf), {}),
        (aten.gelu.default, (), {"approximate": "tanh"}),
    ],
    ids=str,
)
def test_every_kind_of_argument_survives(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    module = one_call(target, *args, **kwargs)
    x = torch.randn(2, 3, 4, 4)
    (ours,), (theirs,) = there_and_back(module)(x), module(x)
    assert torch.equal(ours, theirs)
    assert (ours.dtype, ours.stride()) == (theirs.dtype, theirs.stride())


def test_tuples_and_slices_survive() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    key = (slice(None, None, None), slice(0, 2, 1), None)
    graph.output((graph.call_function(operator.getitem, (x, key)),))
    (y,) = there_and_back(fx.GraphModule({}, graph))(torch.arange(12).reshape(3, 4))
    assert y.shape == (3, 2, 1)


def test_tensors_travel_by_name() -> None:
    graph = fx.Graph()
    x, weight = graph.placeholder("x"), graph.get_attr("layers.0.weight")
    graph.output((graph.call_function(aten.add.Tensor, (x, weight)),))
    description, tensors = program(fx.GraphModule({"layers.0.weight": torch.ones(2)}, graph))
    assert list(tensors) == ["layers.0.weight"]
    assert from_program(description, tensors)(torch.ones(2))[0].tolist() == [2, 2]
    with pytest.raises(ConfigError, match=r"tensor 'layers.0.weight' is missing"):
        from_program(description, {})


def node(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "op": "call_function",
        "name": "y",
        "target": "aten.relu.default",
        "args": [{"node": "x"}],
        "kwargs": {},
    }
    return {"nodes": [{"op": "placeholder", "name": "x"}, entry | changes]}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (node(target="os.system"), "must be an aten operator"),
        (node(target="aten.relu.default.__globals__"), "must be an aten operator"),
        (node(target="aten.relu.name"), "must be an aten operator"),
        (node(target="aten.nope.default"), "must be an aten operator"),
        (node(target="aten.from_file.default"), "must be an aten operator"),
        (node(target="torchvision.nms.default"), "must be an aten operator"),
        (node(target=3), "must be an aten operator"),
        (node(op="call_module", target="x"), "unknown kind of node"),
        (node(op="call_method", target="backward"), "unknown kind of node"),
        (node(op="placeholder", name="x=print()"), "a node's name must match"),
        (node(op="get_attr", target="a']; print('"), "a tensor's name must match"),
        (node(kwargs={"a=print(), b": 1}), "a keyword must match"),
        (node(args=[{"node": "z"}]), "used before it is defined"),
        (node(args=[{"torch": "load"}]), "unknown dtype"),
        (node(args=[{"pickle": ""}]), "unknown type of argument"),
        (node(args=[{}]), "must have one key"),
        (node(args=7), "malformed description"),
        (node(args=[{"device": "moon"}]), "malformed description"),
        ({}, "malformed description"),
    ],
)
def test_what_a_program_never_writes_is_refused(description: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^program: .*{message}"):
        from_program(description, {})


def test_operators_outside_aten_cannot_be_described() -> None:
    with pytest.raises(ConfigError, match="must call an aten operator or getitem"):
        program(one_call(torch.relu))
    with pytest.raises(ConfigError, match="an argument of type complex cannot be described"):
        program(one_call(aten.add.Tensor, 1j))


def test_a_device_needs_torch_alone() -> None:
    code = "import sys, pipeline.network.stage_program as _; "
    code += "sys.exit(bool({'torchvision', 'timm', 'networkx'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
