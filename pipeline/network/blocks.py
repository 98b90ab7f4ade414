"""Blocks of a traced model that compute nothing of their own, put in line. Pure."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import fx

_AUTOCAST = torch.ops.higher_order.wrap_with_autocast
_SET_GRAD = torch.ops.higher_order.wrap_with_set_grad_enabled


def inline_blocks(module: fx.GraphModule) -> None:
    """Replace calls of blocks without autocast, or with or without gradients, by the block's own operators.

    Such a block is a module of its own in the trace. A block with autocast computes in another precision, and
    stays.
    """
    for node in [*module.graph.nodes]:
        if node.op != "call_function":
            continue
        if node.target is _AUTOCAST and not node.args[2]:
            _inline(module, node, node.args[4], node.args[5:])
        elif node.target is _SET_GRAD:
            _inline(module, node, node.args[1], node.args[2:])
    module.recompile()


def _inline(module: fx.GraphModule, call: fx.Node, block: fx.Node, given: Sequence[fx.Node]) -> None:
    inner = module.get_submodule(str(block.target))
    assert isinstance(inner, fx.GraphModule)
    inline_blocks(inner)
    inputs = [node for node in inner.graph.nodes if node.op == "placeholder"]
    values = dict(zip(inputs, given, strict=True))
    with module.graph.inserting_before(call):
        for node in inner.graph.nodes:
            if node.op not in ("placeholder", "output"):
                values[node] = module.graph.node_copy(node, lambda arg: values[arg])
                if node.op == "get_attr":
                    setattr(
                        module,
                        name := f"{block.target}_{node.target}".replace(".", "_"),
                        getattr(inner, str(node.target)),
                    )
                    values[node].target = name
    (answers,) = inner.graph.output_node().args
    if isinstance(answers, fx.Node):
        call.replace_all_uses_with(values[answers])
    else:
        assert isinstance(answers, tuple | list)
        for user in [*call.users]:
            assert user.target is operator.getitem
            place = user.args[1]
            assert isinstance(place, int)
            user.replace_all_uses_with(values[answers[place]])
            module.graph.erase_node(user)
    module.graph.erase_node(call)
    if not block.users:
        module.graph.erase_node(block)
