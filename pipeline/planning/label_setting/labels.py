"""Labels, which are partial plans at one cut, and the stages that led to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.domain.checks import require
from pipeline.planning.cost import Floats, Ints
from pipeline.planning.label_setting.rules import Bools, PlanRules

MOST = 30_000
"""Labels at one cut beyond which a search is given up: memory limits on many devices can need any number."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Partial plans at one cut. `device`, `begin` and `node` are (labels,)."""

    device: Ints
    used: Floats
    """(labels, columns): the figures of `Columns`, which dominance compares."""
    begin: Ints
    """First layer of the current stage."""
    node: Ints
    """Index of the current stage in `Trail`, whose parents are the stages before it."""

    least: Floats
    """(labels, blocks, figures): lower bounds of all completions with a period in a block of `Levels`.

    By row of weights (means left out) and by objective; infinite where none improves on the known plans.
    """

    def take(self, rows: Ints | Bools) -> Labels:
        """The labels of these rows, given by index or as a mask (labels,)."""
        return Labels(self.device[rows], self.used[rows], self.begin[rows], self.node[rows], self.least[rows])

    @classmethod
    def joined(cls, *parts: Labels) -> Labels:
        """The labels of all parts."""
        return cls(
            np.concatenate([part.device for part in parts]),
            np.concatenate([part.used for part in parts]),
            np.concatenate([part.begin for part in parts]),
            np.concatenate([part.node for part in parts]),
            np.concatenate([part.least for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.device)


class Trail:
    """Every stage that any label has opened: the cut where it begins, its device, the stage before it."""

    def __init__(self) -> None:
        self._chunks: list[tuple[Ints, Ints, Ints]] = []
        self._count = 0

    def open(self, begin: int, device: Ints, parent: Ints) -> Ints:
        """Open a stage at a cut for each label; returns the indices of the new stages.

        All arrays are (labels,). parent: indices of the stages before; -1: none.
        """
        self._chunks.append((np.full(len(device), begin), device, parent))
        self._count += len(device)
        return np.arange(self._count - len(device), self._count)

    def plans(self, nodes: Ints, num_layers: int) -> tuple[Ints, Ints]:
        """Bounds (plans, stages + 1) and device indices (plans, stages) of plans that end in these stages."""
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


def require_few(labels: int, k: int, rules: PlanRules, most: int = MOST) -> None:
    """Raise ConfigError if more than `most` labels remain at cut k."""
    once = "" if rules.distinct else "distinct=true, or "
    require(
        labels <= most,
        f"the exact front is out of reach: more than {most:,} partial plans remain at layer {k} "
        f"(set {once}fewer max_stages, devices or objectives)",
    )
