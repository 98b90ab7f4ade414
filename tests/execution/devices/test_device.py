"""What a device measures of a stage: steady work, whatever came before."""

from __future__ import annotations

import time

import torch
from torch import fx

from pipeline.execution.devices.device import steady

COLD_S = 0.05


class Adds(torch.nn.Module):
    """Adds 1; the first time, as where caches are cold, it needs COLD_S of CPU time more."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        self.calls += 1
        begin = time.thread_time()
        while self.calls == 1 and time.thread_time() < begin + COLD_S:
            pass
        return (x + 1,)


def traced() -> fx.GraphModule:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("adds", (x,)))
    return fx.GraphModule({"adds": Adds()}, graph)


def test_the_second_time_counts_and_answers_as_the_first() -> None:
    given = (torch.zeros(2),)
    (output,), cpu_s = steady([traced(), traced()], given)
    assert output.tolist() == [2.0, 2.0]
    assert given[0].tolist() == [0.0, 0.0]
    assert len(cpu_s) == 2
    assert 0 < sum(cpu_s) < COLD_S / 2
