"""Blocks without autocast or gradients are cut like any other part; one with autocast is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec
from tests.network.conftest import example


class Plain(nn.Module):
    """With a constant, several answers of a block, and a block within a block."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        with torch.autocast("cpu", enabled=False):
            y, z = x.float() * torch.tensor(2.0), self.linear(x)
            with torch.no_grad():
                z = z + torch.ones(8) - y
        with torch.inference_mode(mode=False), torch.no_grad():
            w = y.relu()
        answer: Tensor = w * z + x
        return answer


class Mixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.T


def test_what_switches_autocast_or_gradients_off_is_cut_anywhere() -> None:
    model, x = Plain().eval().requires_grad_(False), torch.randn(3, 8)
    graph = Graph.of(model, torch.zeros(3, 8), "plain")
    for cut in range(1, len(graph.layers)):
        values = graph.stage(0, cut)(x)
        (answer,) = graph.stage(cut, len(graph.layers))(*values)
        assert torch.equal(answer, model(x))


def test_a_block_in_another_precision_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="mixed uses wrap_with_autocast, which is not a plain aten operator"
    ):
        Graph.of(Mixed().eval(), torch.zeros(3, 8), "mixed")


def test_efficientvit_is_bit_for_bit_itself() -> None:
    """timm's blocks of linear attention switch autocast off."""
    model = ModelSpec("efficientvit_b0", "timm", input_size=64).build()
    graph, x = Graph.of(model, example(64), "efficientvit_b0"), torch.randn(1, 3, 64, 64)
    cut = len(graph.layers) // 2
    with torch.inference_mode():
        (answer,) = graph.stage(cut, len(graph.layers))(*graph.stage(0, cut)(x))
        assert torch.equal(answer, model(x))
