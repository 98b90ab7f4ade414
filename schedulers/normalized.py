"""The paper's five scores, each scaled to [0, 1] over the devices that may take the task. Pure.

The paper's own future work. Verbatim, a score's influence depends on the unit it happens to be in (see
`schedulers.weighted`); scaled, the best device has 1 and the worst 0 in each, and the carbon weight moves the
choice over all of [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.domain import Assign, Decision, Task
from pipeline.fleet_state import DeviceState, FleetState
from schedulers.weighted import Weighted, scores

Floats = npt.NDArray[np.float64]
Row = tuple[float, float, float, float, float]

FEW = 64
"""Up to so many devices a plain look at all of them is quicker than arrays."""


@dataclass(frozen=True)
class Normalized(Weighted):
    """As Weighted, but S = sum of w * (score - least) / (most - least), over the devices that may be chosen.

    A score in which all are equal counts for nothing; the first of equals wins.
    """

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the best device; Wait while load alone excludes the rest; else Refuse, saying why."""
        view = state.view((id(self), task.stage), lambda: _Scored(self, task, state.in_order))
        barred: Collection[int] = ()
        if task.location is not None:
            latencies = [state.link_latency_s(task, device.name) for device in state.in_order]
            far_s = math.inf if self.max_latency_s is None else self.max_latency_s
            barred = {k for k, latency_s in enumerate(latencies) if latency_s is None or latency_s > far_s}
        w = self.weights
        best = view.best((w.resource, w.load, w.performance, w.balance, w.carbon), barred)
        return self._nobody(task, state) if best is None else Assign(state.in_order[best].name)


class _Scored:
    """A view: every device's scores for a stage, in blocks of alike devices with the best and worst of each.

    A block whose best scores together make no more than the best device so far needs no look inside.
    """

    def __init__(self, scheduler: Normalized, task: Task, devices: Sequence[DeviceState]) -> None:
        self.changed: set[int] = set()
        self._scheduler, self._task, self._devices = scheduler, task, devices
        self._rows = [self._row(device) for device in devices]
        if len(devices) > FEW:
            self._blocks = alike(np.array([row or (0.0,) * 5 for row in self._rows]))
            width = max(len(block) for block in self._blocks)
            self._place = np.empty(len(devices), dtype=np.int64)
            for number, block in enumerate(self._blocks):
                self._place[block] = number * width + np.arange(len(block))
            self._table = np.zeros((5, len(self._blocks), width))
            self._out = np.full((len(self._blocks), width), -np.inf)
            self._most, self._least = np.zeros((2, 5, len(self._blocks)))
            self._empty = np.zeros(len(self._blocks))
            for index in range(len(devices)):
                self._put(index)
            for number in range(len(self._blocks)):
                self._sum_up(number)

    def _row(self, device: DeviceState) -> Row | None:
        if not self._scheduler.may_take(self._task, device):
            return None
        s = scores(self._task, device)
        return s.resource, s.load, s.performance, s.balance, s.carbon

    def best(self, weights: Row, barred: Collection[int]) -> int | None:
        """Index of the device with the highest sum, without those barred; None where nobody is left."""
        for index in self.changed:
            self._rows[index] = self._row(self._devices[index])
        if len(self._rows) > FEW:
            for index in self.changed:
                self._put(index)
            for number in {int(self._place[index]) // self._out.shape[1] for index in self.changed}:
                self._sum_up(number)
        self.changed.clear()
        if len(self._rows) > FEW and not barred:
            return self._by_blocks(weights)
        return best_of_all(self._rows, weights, barred)

    def _put(self, index: int) -> None:
        row = self._rows[index]
        block, place = divmod(int(self._place[index]), self._out.shape[1])
        self._out[block, place] = -np.inf if row is None else 0.0
        self._table[:, block, place] = 0.0 if row is None else row

    def _sum_up(self, block: int) -> None:
        inside = self._table[:, block, self._out[block] == 0]
        self._empty[block] = 0.0 if inside.shape[1] else -np.inf
        if inside.shape[1]:
            self._most[:, block], self._least[:, block] = inside.max(axis=1), inside.min(axis=1)

    def _by_blocks(self, weights: Row) -> int | None:
        full = self._empty == 0
        if not full.any():
            return None
        most, least = self._most[:, full].max(axis=1), self._least[:, full].min(axis=1)
        factors = _factors(weights, least.tolist(), most.tolist())
        # Rounding keeps order, so that no sum in a block is above this one.
        bounds = _sums(factors, self._most) + self._empty
        best, best_sum = -1, -math.inf
        for block in np.argsort(-bounds, kind="stable").tolist():
            if bounds[block] < best_sum:
                break
            sums = _sums(factors, self._table[:, block]) + self._out[block]
            inside = int(sums.argmax())  # the first of equals: a block is in the fleet's order
            index, total = int(self._blocks[block][inside]), float(sums[inside])
            if total > best_sum or (total == best_sum and index < best):
                best, best_sum = index, total
        return best


def alike(points: Floats) -> list[npt.NDArray[np.int64]]:
    """Indices of the points (n, k) in about sqrt(n) blocks of near neighbours, each rising: a k-d tree's leaves.

    A block is halved where it is widest, until it holds at most sqrt(n).
    """
    blocks = [np.arange(len(points))]
    while len(blocks[0]) ** 2 > len(points):
        halves = []
        for block in blocks:
            own, half = points[block], (len(block) + 1) // 2
            order = own[:, np.ptp(own, axis=0).argmax()].argsort(kind="stable")
            halves += [np.sort(block[order[:half]]), np.sort(block[order[half:]])]
        blocks = halves
    return blocks


def _sums(factors: Sequence[float], table: Floats) -> Floats:
    a, b, c, d, e = factors
    return np.asarray(a * table[0] + b * table[1] + c * table[2] + d * table[3] + e * table[4])


def _factors(weights: Row, least: Sequence[float], most: Sequence[float]) -> list[float]:
    return [
        w / (high - low) if high > low else 0.0 for w, low, high in zip(weights, least, most, strict=True)
    ]


def best_of_all(rows: Sequence[Row | None], weights: Row, barred: Collection[int] = ()) -> int | None:
    """Index of the highest sum of scaled scores by a look at every row; None is out. The first of equals."""
    left = [(k, row) for k, row in enumerate(rows) if row is not None and k not in barred]
    if not left:
        return None
    columns = list(zip(*(row for _, row in left), strict=True))
    # What is taken off each score is the same for all: it does not change who is best.
    a, b, c, d, e = _factors(
        weights, [min(column) for column in columns], [max(column) for column in columns]
    )
    best, best_sum = left[0][0], -math.inf
    for index, (v, w, x, y, z) in left:
        total = a * v + b * w + c * x + d * y + e * z
        if total > best_sum:
            best, best_sum = index, total
    return best
