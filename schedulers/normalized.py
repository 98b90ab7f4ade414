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
        best = view.best(self.weights, barred)
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
            blocks = alike(np.array([row or (0.0,) * 5 for row in self._rows]))
            width = max(len(block) for block in blocks)
            self._index = np.zeros((len(blocks), width), dtype=np.int64)
            self._places = [(0, 0)] * len(devices)
            for number, block in enumerate(blocks):
                self._index[number, : len(block)] = block
                for place, index in enumerate(block.tolist()):
                    self._places[index] = number, place
            self._table = np.full((5, len(blocks), width), np.nan)  # not a number: out
            self._most, self._least = np.full((2, 5, len(blocks)), np.nan)
            for index in range(len(devices)):
                self._put(index)
            for number in range(len(blocks)):
                self._sum_up(number)

    def _row(self, device: DeviceState) -> Row | None:
        return scores(self._task, device) if self._scheduler.may_take(self._task, device) else None

    def best(self, weights: Row, barred: Collection[int]) -> int | None:
        """Index of the device with the highest sum, without those barred; None where nobody is left."""
        for index in self.changed:
            self._rows[index] = self._row(self._devices[index])
        if len(self._rows) > FEW:
            for index in self.changed:
                self._put(index)
            for block in {self._places[index][0] for index in self.changed}:
                self._sum_up(block)
        self.changed.clear()
        if len(self._rows) > FEW and not barred:
            return self._by_blocks(weights)
        return best_of_all(self._rows, weights, barred)

    def _put(self, index: int) -> None:
        row = self._rows[index]
        block, place = self._places[index]
        self._table[:, block, place] = np.nan if row is None else row

    def _sum_up(self, block: int) -> None:
        inside = self._table[:, block]
        np.fmax.reduce(inside, axis=1, out=self._most[:, block])
        np.fmin.reduce(inside, axis=1, out=self._least[:, block])

    def _by_blocks(self, weights: Row) -> int | None:
        most, least = np.fmax.reduce(self._most, axis=1), np.fmin.reduce(self._least, axis=1)
        if math.isnan(most[0]):
            return None
        lowest, highest = least.tolist(), most.tolist()
        own = _factors(weights, lowest, highest)
        factors = np.array(own)
        # These products and the sums below round differently, by far less than this.
        slack = 1e-12 * sum(f * max(-low, high) for f, low, high in zip(own, lowest, highest, strict=True))
        bounds = np.fmax(factors @ self._most, -np.inf)
        reached = np.fmax.reduce(factors @ self._table[:, bounds.argmax()]) - slack
        blocks = (bounds >= reached).nonzero()[0]
        sums = _sums(own, self._table[:, blocks])
        return int(self._index[blocks][sums == np.fmax.reduce(sums, axis=None)].min())


def alike(points: Floats) -> list[npt.NDArray[np.int64]]:
    """Indices of the points (n, k) in about sqrt(n) blocks of near neighbours: the leaves of a k-d tree.

    A block is halved where it is widest, until it holds at most sqrt(n). Indices in it rise.
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
