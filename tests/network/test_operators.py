"""The cost of a layer by Eq. 5 of the paper."""

from __future__ import annotations

import pytest
from torch import nn

from tests.network.conftest import (
    SMALL,
    of,
    prepared,
)


def test_mobilenet_v2_layers_and_the_paper_s_cost() -> None:
    _, graph = prepared("mobilenet_v2", SMALL)
    assert len(graph) == 153
    assert len(graph.cuts) == 154
    costs = {op: sum(x.eq5_cost for x in graph.layers if x.op == op) for op in {x.op for x in graph.layers}}
    share = costs["conv2d_depthwise"] / sum(costs.values())
    assert share == pytest.approx(0.92, abs=0.005)  # Eq. 5 leaves groups out: 6.9% of the multiply-adds
    assert costs["linear"] == 1280 * 1000
    assert costs["hardtanh_"] == costs["add"] == costs["dropout"] == 0


def test_a_transposed_convolution_costs_what_its_counterpart_does() -> None:
    _, graph, _ = of(nn.Sequential(nn.ConvTranspose2d(3, 5, 2), nn.Conv2d(5, 3, 2)))
    assert [(layer.op, layer.eq5_cost) for layer in graph.layers] == [
        ("conv_transpose2d", 2 * 2 * 3 * 5),
        ("conv2d", 2 * 2 * 5 * 3),
    ]
