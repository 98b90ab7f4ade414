"""Subnormal numbers are 0 in a block, and only there; on a device they always are."""

from __future__ import annotations

import torch

from pipeline.execution.devices.pool import DevicePool
from pipeline.network.graph import Graph
from pipeline.network.subnormals import subnormals_as_zero

TINY = torch.full((1, 4), 1e-30)


class Shrink(torch.nn.Module):
    """Multiplies by 1e-10, then by 1e10."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 1e-10) * 1e10


def test_subnormals_are_zero_in_the_block_only() -> None:
    shrink = Shrink()
    with subnormals_as_zero():
        assert (shrink(TINY) == 0).all()
    assert (shrink(TINY) > 0).all()


def test_a_device_takes_them_for_zero_as_the_unsplit_answer_does() -> None:
    graph = Graph.of(Shrink().eval(), TINY, "shrink")
    pool = DevicePool(["d"])
    try:
        pool.deploy("d", "all", graph, 0, len(graph))
        pool.call("d", {"op": "put", "request": "x"}, {"0": TINY})
        pool.call("d", {"op": "run", "stage": "all", "request": "y", "takes": "x"})
        _, values = pool.call("d", {"op": "fetch", "request": "y"})
    finally:
        pool.close()
    assert (values["0"] == 0).all()
