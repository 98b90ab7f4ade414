"""The paper's five scores, each scaled to [0, 1] over the devices that may take the task. Pure.

The paper names this as future work. Unscaled, the influence of a score depends on its unit (see
`schedulers.weighted`). Scaled, each score is 1 for the best device and 0 for the worst, and the carbon weight
has an effect over all of [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from schedulers.weighted import Weighted, scores

Floats = npt.NDArray[np.float64]
Row = tuple[float, float, float, float, float]

FEW = 64
"""Largest number of devices for which a plain loop is faster than arrays."""
BLOCKS = 1024
"""Largest number of blocks; a fleet of as many devices or fewer has one device in each."""


@dataclass(frozen=True)
class Normalized(Weighted):
    """Like Weighted, but S = sum of w * (score - least) / (most - least) over the devices that may be chosen.

    A score that is the same for all devices has no effect; of equal sums the first device is chosen.
    """

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign to the best device; Wait if some are only loaded or down; else Refuse with the reasons."""
        rows = state.view((id(self), task.stage), lambda: _Scored(self, task, state.in_order)).rows
        far_s = math.inf if self.max_latency_s is None else self.max_latency_s
        near, link = state.near(task.location), state.shared_link(task.location)
        allowed: list[int] = []
        barred: list[int] = []
        for device, way in near.ways:
            (allowed if way is None or way.latency_s <= far_s else barred).append(device.index)
        if near.has_others and (link is None or link.latency_s <= far_s):
            best = rows.best(self.weights, barred)
        else:
            best = best_of_all([(index, rows.rows[index]) for index in allowed], self.weights)
        return self._nobody(task, state) if best is None else Assign(state.in_order[best].name)


class _Scored:
    """A view of every device's scores for a stage; None for a device that may not take it."""

    def __init__(self, scheduler: Normalized, task: Task, devices: Sequence[DeviceState]) -> None:
        self._scheduler, self._task, self._devices = scheduler, task, devices
        self.rows = Rows([self._row(device) for device in devices])

    def update(self, changed: Iterable[int]) -> None:
        """Compute the scores of these devices anew."""
        self.rows.put({index: self._row(self._devices[index]) for index in changed})

    def _row(self, device: DeviceState) -> Row | None:
        return scores(self._task, device) if self._scheduler.may_take(self._task, device) else None


class Rows:
    """Rows of five scores, one for each device, or None for an excluded device; in blocks of similar rows.

    Each block keeps the largest and the smallest of every score. They bound the sums of its rows, so that
    most blocks need not be searched.
    """

    def __init__(self, rows: Sequence[Row | None]) -> None:
        self.rows = list(rows)
        if len(rows) <= FEW:
            return
        blocks = alike(np.array([row or (0.0,) * 5 for row in rows]))
        width = self._width = max(len(block) for block in blocks)
        self._index = np.zeros((len(blocks), width), dtype=np.int64)
        self._places = [(0, 0)] * len(rows)
        for number, block in enumerate(blocks):
            self._index[number, : len(block)] = block
            for place, index in enumerate(block.tolist()):
                self._places[index] = number, place
        # (score, block, row): five scores, then the five negated, so that one maximum gives both extremes.
        self._table = np.full((10, len(blocks), width), np.nan)  # NaN: excluded
        self._most = self._table[:, :, 0] if width == 1 else np.full((10, len(blocks)), np.nan)
        self._scores, self._most_scores = self._table[:5], self._most[:5]
        self._put(dict(enumerate(rows)))

    def put(self, rows: Mapping[int, Row | None]) -> None:
        """Replace the rows of these devices."""
        for index, row in rows.items():
            self.rows[index] = row
        if len(self.rows) > FEW:
            self._put(rows)

    def _put(self, rows: Mapping[int, Row | None]) -> None:
        for index, row in rows.items():
            block, place = self._places[index]
            if row is None:
                self._table[:, block, place] = np.nan
            else:
                a, b, c, d, e = row
                self._table[:, block, place] = a, b, c, d, e, -a, -b, -c, -d, -e
        if self._width > 1:
            for block in {self._places[index][0] for index in rows}:
                np.fmax.reduce(self._table[:, block], axis=1, out=self._most[:, block])

    def best(self, weights: Row, barred: Collection[int] = ()) -> int | None:
        """Index of the highest sum, except barred rows; the first of equals. None if no row is left."""
        if len(self.rows) <= FEW * (1 + len(barred)):  # a plain loop is faster
            return best_of_all([pair for pair in enumerate(self.rows) if pair[0] not in barred], weights)
        if not barred:
            return self._by_blocks(weights)
        self._put(dict.fromkeys(barred))
        best = self._by_blocks(weights)
        self._put({index: self.rows[index] for index in barred})
        return best

    def _by_blocks(self, weights: Row) -> int | None:
        extremes = np.fmax.reduce(self._most, axis=1).tolist()
        if math.isnan(extremes[0]):
            return None
        factors = np.array([_factor(w, -extremes[5 + k], extremes[k]) for k, w in enumerate(weights)])
        bounds = factors @ self._most_scores
        reached = np.fmax.reduce(bounds)
        if self._width > 1:
            reached = np.fmax.reduce(factors @ self._scores[:, (bounds == reached).argmax()])
        # These products round differently from the sums below, by far less than this slack.
        slack = 1e-12 * max(map(abs, extremes)) * float(factors.sum())
        blocks = (bounds >= reached - slack).nonzero()[0]
        if len(blocks) == self._width == 1:
            return int(self._index[blocks[0], 0])
        # numpy adds along the first axis in order, as best_of_all does.
        sums = np.add.reduce(factors[:, None, None] * self._scores[:, blocks])
        return int(self._index[blocks][sums == np.fmax.reduce(sums, axis=None)].min())


def alike(points: Floats) -> list[npt.NDArray[np.int64]]:
    """Indices of the points (n, k) in at most BLOCKS blocks of similar points: the leaves of a k-d tree.

    Each block is halved along its widest dimension until there are BLOCKS. Indices within a block ascend.
    """
    if len(points) <= BLOCKS:
        return list(np.arange(len(points))[:, None])
    blocks = [np.arange(len(points))]
    while len(blocks) < BLOCKS:
        halves = []
        for block in blocks:
            members, half = points[block], (len(block) + 1) // 2
            order = members[:, np.ptp(members, axis=0).argmax()].argsort(kind="stable")
            halves += [np.sort(block[order[:half]]), np.sort(block[order[half:]])]
        blocks = halves
    return blocks


def _factor(weight: float, least: float, most: float) -> float:
    return weight / (most - least) if most > least else 0.0


def best_of_all(rows: Sequence[tuple[int, Row | None]], weights: Row) -> int | None:
    """Index of the highest sum of scaled scores, by a loop over all rows; the first of equals, or None."""
    left = [(index, row) for index, row in rows if row is not None]
    if len(left) < 2:
        return left[0][0] if left else None
    columns = zip(*[row for _, row in left], strict=True)
    # Subtracting the least of a score changes all sums by the same amount, so the best stays the same.
    a, b, c, d, e = [_factor(w, min(x), max(x)) for w, x in zip(weights, columns, strict=True)]
    best, best_sum = left[0][0], -math.inf
    for index, (v, w, x, y, z) in left:
        total = a * v + b * w + c * x + d * y + e * z
        if total > best_sum:
            best, best_sum = index, total
    return best
