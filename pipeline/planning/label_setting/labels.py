"""Labels, which are partial plans at one cut, and the stages that they came by. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.planning.cost import Floats, Ints
from pipeline.planning.label_setting.rules import Bools


@dataclass(frozen=True, eq=False)
class Labels:
    """Partial plans at one cut. `used` holds the `Columns`, which dominance compares."""

    device: Ints
    used: Floats
    begin: Ints
    """Where the stage at work began."""
    node: Ints
    """The stage at work, and through its parents those before it; see `Trail`."""

    def take(self, rows: Ints | Bools) -> Labels:
        """Some of the labels."""
        return Labels(self.device[rows], self.used[rows], self.begin[rows], self.node[rows])

    def __len__(self) -> int:
        return len(self.device)


class Trail:
    """Every stage that some label ever opened: the cut where it begins, its device, the stage before."""

    def __init__(self) -> None:
        self._chunks: list[tuple[Ints, Ints, Ints]] = []
        self._count = 0

    def open(self, begin: int, device: Ints, parent: Ints) -> Ints:
        """Open a stage at a cut for each label; parent: the stages before. Returns the new stages."""
        self._chunks.append((np.full(len(device), begin), device, parent))
        self._count += len(device)
        return np.arange(self._count - len(device), self._count)

    def plans(self, nodes: Ints, num_layers: int) -> tuple[Ints, Ints]:
        """Bounds and device indices of the plans that end in these stages."""
        begin, device, parent = (np.concatenate(column) for column in zip(*self._chunks, strict=True))
        found = []
        for node in nodes:
            stages = []
            while node >= 0:
                stages.append((int(begin[node]), int(device[node])))
                node = parent[node]
            found.append(stages[::-1])
        width = max(map(len, found))
        bounds = np.full((len(found), width + 1), num_layers)
        where = np.zeros((len(found), width), dtype=np.int64)
        for row, stages in enumerate(found):
            bounds[row, : len(stages)] = [b for b, _ in stages]
            where[row, : len(stages)] = [d for _, d in stages]
        return bounds, where
