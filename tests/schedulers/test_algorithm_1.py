"""Algorithm 1 written a second time, from the formulas of the paper and AMP4EC's rule of resources."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Assign, Refuse, Wait
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.fleet_state import FleetState
from tests.schedulers.conftest import TASK, cached

TABLE_1 = {
    "performance": (0.25, 0.25, 0.30, 0.15, 0.05),
    "green": (0.15, 0.15, 0.10, 0.10, 0.50),
    "balanced": (0.20, 0.20, 0.15, 0.15, 0.30),
}


@dataclass
class Node:
    """What a monitor knows of a node; the history begins with ten executions at the profiled time."""

    cpu: float
    memory_mb: float
    watts: float
    g_per_kwh: float
    history_s: list[float]
    tasks: list[tuple[float, float]] = field(default_factory=list)

    def score(self, weights: tuple[float, ...], cpu: float, memory_mb: float) -> float | None:
        """Eq. 3; None for a node that the algorithm skips."""
        cpu_free = self.cpu - sum(need for need, _ in self.tasks)
        memory_free_mb = self.memory_mb - sum(need for _, need in self.tasks)
        load = 1 - cpu_free / self.cpu
        if load > 0.8 or cpu_free < cpu or memory_free_mb < memory_mb:
            return None
        mean_s = float(np.mean(self.history_s[-100:]))
        estimate = self.watts * (mean_s * 1000) / 3_600_000
        parts = (
            0.5 * min(1.0, cpu_free / cpu) + 0.5 * min(1.0, memory_free_mb / memory_mb),
            1 - load,
            1 / (1 + mean_s),
            1 / (1 + 2 * len(self.tasks)),
            1 / (1 + self.g_per_kwh * estimate),
        )
        return sum(weight * part for weight, part in zip(weights, parts, strict=True))


def situation(random: np.random.Generator) -> tuple[FleetState, list[Node], float, float]:
    """A fleet, what a monitor would know of it, and the CPUs and the MB that a task needs."""
    count, cpu, memory_mb = int(random.integers(1, 7)), 0.125, float(random.integers(50, 257))
    nodes = [
        Node(
            cpu=float(random.choice([0.5, 1, 2])),
            memory_mb=float(random.choice([128, 256, 512])),
            watts=float(random.uniform(5, 150)),
            g_per_kwh=float(random.uniform(20, 800)),
            history_s=[float(random.uniform(0.01, 0.5))] * 10,
        )
        for _ in range(count)
    ]
    devices = tuple(
        Device(f"n{k}", n.memory_mb * 1e6, n.watts, cpu_quota=n.cpu, intensity_g_per_kwh=n.g_per_kwh)
        for k, n in enumerate(nodes)
    )
    seconds = {f"n{k}": n.history_s[0] for k, n in enumerate(nodes)}
    work = [StageDeployment(0, 0, AUTO, memory_mb * 1e6, 0, seconds, 0.0)]
    state = FleetState(
        Fleet("f", devices), work, Intensity.constant({d.name: d.intensity_g_per_kwh or 0 for d in devices})
    )
    for k, node in enumerate(nodes):
        for _ in range(int(random.integers(0, 130)) if random.random() < 0.3 else 0):
            took_s = float(random.uniform(0.01, 0.5))
            state.begin(TASK, f"n{k}")
            state.end(TASK, f"n{k}", took_s)
            node.history_s.append(took_s)
        for _ in range(int(random.integers(0, 5))):
            need = 0.125 * float(random.integers(1, 3)), float(random.integers(50, 257))
            state.begin(TASK._replace(cpu_need=need[0], memory_need_bytes=need[1] * 1e6), f"n{k}")
            node.tasks.append(need)
    return state, nodes, cpu, memory_mb


def agree(count: int, seed: int) -> int:
    """Compare the decisions in so many random states; returns how many waited or were refused."""
    random, skipped = np.random.default_rng(seed), 0
    for _ in range(count):
        state, nodes, cpu, memory_mb = situation(random)
        task = TASK._replace(cpu_need=cpu, memory_need_bytes=memory_mb * 1e6)
        for mode, weights in TABLE_1.items():
            found = [(node.score(weights, cpu, memory_mb), -k) for k, node in enumerate(nodes)]
            decision = cached(mode).decide(task, state)
            best = max(((score, k) for score, k in found if score is not None), default=None)
            if best is not None:
                assert decision == Assign(f"n{-best[1]}")
                continue
            skipped += 1
            never = all(node.memory_mb < memory_mb for node in nodes)
            assert isinstance(decision, Refuse if never else Wait)
    return skipped


def test_a_hundred_random_states() -> None:
    assert agree(100, seed=1) > 10


@pytest.mark.full
def test_three_thousand_random_states() -> None:
    assert agree(3000, seed=2) > 300
