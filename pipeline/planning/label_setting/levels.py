"""What the rest of a plan may still use: stages or devices, and seconds of the period. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.planning.cost import Floats, Ints
from pipeline.planning.label_setting.prices import Prices

MOST_CELLS = 8_000_000
"""Most numbers in one table of `LookAhead`: sets of devices are counted only where it is no larger."""
LIMITS = range(4, 17)
"""Numbers of limits on the period: as many as the tables have room for."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of a search backwards, in one block for each limit on the period.

    Within a block a level is the number of stages that may follow (with max_stages), the set of devices that
    may still hold a stage (with the period, each device at most once; bit d stands for device d), or the only
    one. A block's plans have a period of at most its limit.
    """

    after: Ints
    """(levels, D): the level after a stage opens on a device; -1: none may."""
    start: Ints
    """(blocks, D): the level after the first stage opens on a device."""
    limit_s: Floats
    """(blocks,), ascending; the last is infinite."""
    has_sets: bool

    """Whether the levels are sets of devices."""

    @classmethod
    def of(cls, prices: Prices, rows: int) -> Self:
        """The levels of a problem; rows: number of weighted sums in the tables."""
        count, rules = prices.num_devices, prices.rules
        room = MOST_CELLS // _cells(prices, rows)
        limits = min(max(room, LIMITS[0]), LIMITS[-1]) if rules.distinct else LIMITS[0]
        has_period = "period_s" in prices.objectives
        limit_s = _limits(prices, limits) if has_period else np.array([np.inf])
        has_sets = has_period and rules.distinct and room >= LIMITS[0]
        if has_sets:
            sets, bits = np.arange(2**count)[:, None], 1 << np.arange(count)
            after, start = np.where(sets & bits, sets ^ bits, -1), (2**count - 1) ^ bits
        elif rules.max_stages is not None:
            after = np.repeat(np.arange(rules.max_stages)[:, None] - 1, count, axis=1)
            start = np.full(count, rules.max_stages - 1)
        else:
            after, start = np.zeros((1, count), dtype=np.int64), np.zeros(count, dtype=np.int64)
        first = len(after) * np.arange(len(limit_s))
        blocks = [np.where(after < 0, -1, after + offset) for offset in first]
        return cls(np.concatenate(blocks), start + first[:, None], limit_s, has_sets)

    @property
    def per_block(self) -> int:
        """Number of levels in a block."""
        return len(self.after) // len(self.limit_s)

    @property
    def floor_s(self) -> Floats:
        """(blocks,): the limit of the block before, above which a block's plans have their periods."""
        return np.concatenate([[0.0], self.limit_s[:-1]])


def sets_fit(prices: Prices, rows: int) -> bool:
    """Whether there is room for levels that are sets of devices; rows as in `Levels.of`."""
    return MOST_CELLS // _cells(prices, rows) >= LIMITS[0]


def _cells(prices: Prices, rows: int) -> int:
    """Numbers in a block of levels that are sets of devices."""
    return int(2**prices.num_devices) * prices.num_devices * (prices.num_layers + 1) * rows


def _limits(prices: Prices, count: int) -> Floats:
    """(count,): from the period of a model that is shared out in any pieces to that of the fastest device.

    The last is infinite.
    """
    alone_s = prices.tables.times.layers_s[:, -1]
    return np.append(np.geomspace(1 / (1 / alone_s).sum(), alone_s.min(), count - 1), np.inf)
