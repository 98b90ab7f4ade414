"""Models as graphs, from libraries and by hand; what runs them whole, split, and sent as programs."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from pipeline.network.graph import Graph
from pipeline.network.stage_program import from_program, program
from tests.conftest import configured

LARGE = ("efficientnet_b0", "resnet50", "vit_b_16", "densenet121", "swin_t")
MODELS = (
    "mobilenet_v2",
    "mobilenetv4_conv_small",
    "googlenet",
    *(pytest.param(name, marks=pytest.mark.full) for name in LARGE),
)
SMALL = 64
"""Pixels on a side in the default suite."""

Tensors = tuple[Tensor, ...]
Run = Callable[[Graph, int, int, Tensors], Tensors]


def example(size: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


@cache
def prepared(name: str, size: int) -> tuple[nn.Module, Graph]:
    spec = configured("model", name)
    options = {"image_size": size} if name == "vit_b_16" else spec.options
    model = dataclasses.replace(spec, input_size=size, options=options).build()
    return model, Graph.of(model, example(size), name)


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Equal to the last bit: the comparison that every test here makes, negative controls included."""
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def direct(graph: Graph, begin: int, end: int, inputs: Tensors) -> Tensors:
    return tuple(graph.stage(begin, end)(*inputs))


def travelled(graph: Graph, begin: int, end: int, inputs: Tensors) -> Tensors:
    """A stage as another process gets it: JSON text and tensors by name."""
    description, tensors = program(graph.stage(begin, end))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return tuple(from_program(json.loads(json.dumps(description)), copies)(*inputs))


def split(graph: Graph, bounds: Sequence[int], x: Tensor, run: Run = direct) -> Tensors:
    values: Tensors = (x,)
    for begin, end in pairwise(bounds):
        before = [value.clone() for value in values]
        after = run(graph, begin, end, values)
        assert same(values, before), f"layers[{begin}:{end}] wrote to its inputs"
        values = after
    return values


def inner_cuts(graph: Graph, at_most: int | None = None) -> list[int]:
    cuts = list(range(1, len(graph)))
    return cuts if at_most is None or len(cuts) <= at_most else sorted(random.Random(0).sample(cuts, at_most))


def of(module: nn.Module, x: Tensor | None = None) -> tuple[nn.Module, Graph, Tensor]:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = example(8) if x is None else x
    module = module.eval().requires_grad_(False)
    return module, Graph.of(module, x, type(module).__name__), x


# --- networks by hand ---------------------------------------------------------------------------


class Block(nn.Module):
    """conv 3->4, batch norm, relu in place, depthwise conv, + residual, mean, linear 4->2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(self.conv(x)))
        z: Tensor = self.head((y + self.depthwise(y)).mean((2, 3)))
        return z


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).permute(0, 2, 3, 1).relu_()
        return y + 1


class OtherNames(nn.Module):
    """mul 0; write 1 by a name of its own (a slice, relu_), read 2, write 3 by another (neg_), read 4."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, :1].relu_()
        z = y.sigmoid()
        y[:, 1:].neg_()
        return y + z


class InPlaceResidual(nn.Module):
    """y, changed in place between its two uses: both see the change."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y.relu_()
        return (y + 1) * z + y.sum()


class FilledSlice(nn.Module):
    """Writes to a slice: the whole changes by another name."""

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(1, 3, 8, 8)
        mask[..., 2:5].fill_(3.0)
        y = x + mask
        mask[..., :1].fill_(-1.0)
        return y * mask


class HiddenAlias(nn.Module):
    """Dropout in eval mode returns its argument, whatever its schema declares: relu_ changes y as well."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z: Tensor = self.dropout(y)
        w = z.sigmoid()
        z.relu_()
        return y + w


class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x.view(-1).mul_(2)
        return y.exp() + x.flatten()


class Chunks(nn.Module):
    """A list of tensors between two layers, and one of them changed in place."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = x.mul(3).chunk(3, dim=1)
        b.add_(a)
        return torch.cat([c, b, a], dim=1)


class Branches(nn.Module):
    """Two outputs, one used twice, and a constant subgraph."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones(8, dtype=torch.int64).cumsum(0)
        y = x * ones
        return y.transpose(2, 3), y


MEMORY_SHARED = (InPlaceResidual, FilledSlice, HiddenAlias, WritesInput, Chunks, Branches, Block)
"""Networks that write in place, or whose values share memory."""
