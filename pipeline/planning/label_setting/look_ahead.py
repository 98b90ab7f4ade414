"""Lower bounds on the cost of the remaining layers, and the plans that reach them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import Self

import numpy as np

from pipeline.planning.cost import Floats
from pipeline.planning.label_setting.plan_arrays import Plans
from pipeline.planning.label_setting.prices import Prices

BLENDS = 9
"""Number of weighted sums of each pair of objectives whose best plans guide the search from the start."""


@dataclass(frozen=True, eq=False)
class LookAhead:
    """The least cost of the remaining layers by each column of `Prices.sums`, and by weighted sums of them.

    Only two rules apply here: each stage alone fits its device, and max_stages. So these are lower bounds.
    There are W rows of weights, the first of which select the columns themselves. A level is the number of
    stages that may still follow; without max_stages there is one level.
    """

    weights: Floats
    """(W, sums)."""
    spent: Floats
    """(D, L + 1, W): cost of running the first k layers on a device."""
    onward: Floats
    """(levels, D, L + 1, W): least cost from a cut on, if the stage on a device ends there."""
    opened: Floats
    """(levels, D, L + 1, W): least cost from a cut on, if a stage on a device begins there."""
    guesses: list[Plans]
    """The plan of least cost by each row of weights, as arrays of one plan each."""

    @classmethod
    def of(cls, prices: Prices) -> Self:
        """Search backwards from the last cut."""
        weights = _weights(prices)
        back = _Backwards(prices, weights)
        onward, opened = (np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in (back.onward, back.opened))
        spent = np.ascontiguousarray(back.spent.transpose(1, 2, 0))
        return cls(weights, spent, onward, opened, back.guesses(weights))


class _Backwards:
    """The search, level by level and cut by cut; the axes are (levels, W, D, L + 1).

    ends: the best end of a stage that begins at a cut. heirs: the best next device after a stage that ends
    there.
    """

    def __init__(self, prices: Prices, weights: Floats) -> None:
        self._prices = prices
        n = prices.num_layers
        with np.errstate(invalid="ignore"):  # an infinite price times a weight of 0
            move = np.einsum("kdes,ws->wkde", prices.move_cost, weights)
        move[:, :, ~prices.connected] = np.inf
        self.spent = np.zeros((len(weights), prices.num_devices, n + 1))
        self.spent[:, :, 1:] = np.cumsum(np.einsum("dls,ws->wdl", prices.layer_cost, weights), axis=2)
        levels = prices.rules.max_stages or 1
        shape = (levels, *self.spent.shape)
        self.onward, self.opened = np.zeros(shape), np.zeros(shape)
        self.ends, self.heirs = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        cuts = np.arange(n + 1)
        for level, k in product(range(levels), range(n - 1, -1, -1)):
            total = self.spent[:, :, k + 1 :] + self.onward[level, :, :, k + 1 :]
            total[:, cuts[k + 1 :] > prices.fits[:, k, None]] = np.inf
            best = total.argmin(axis=2)
            least = np.take_along_axis(total, best[:, :, None], 2)[:, :, 0]
            self.opened[level, :, :, k] = least - self.spent[:, :, k]
            self.ends[level, :, :, k] = k + 1 + best
            if prices.rules.max_stages is None:
                following = move[:, k] + self.opened[level, :, None, :, k]
            elif level > 0:
                following = move[:, k] + self.opened[level - 1, :, None, :, k]
            else:
                following = np.full_like(move[:, k], np.inf)
            self.heirs[level, :, :, k] = following.argmin(axis=2)
            self.onward[level, :, :, k] = following.min(axis=2)

    def guesses(self, weights: Floats) -> list[Plans]:
        """The plan of least cost by each row of weights, if any is possible."""
        prices = self._prices
        first = np.einsum("ds,ws->wd", prices.start_cost, weights) + self.opened[-1, :, :, 0]
        first[:, ~prices.startable] = np.inf
        found = []
        for w in np.flatnonzero(np.isfinite(first.min(axis=1))):
            device, cut, level = int(first[w].argmin()), 0, len(self.opened) - 1
            bounds, where = [0], []
            while cut < prices.num_layers:
                where.append(device)
                cut = int(self.ends[level, w, device, cut])
                bounds.append(cut)
                device = int(self.heirs[level, w, device, cut])
                level -= prices.rules.max_stages is not None
            found.append((np.array([bounds]), np.array([where])))
        return found


def _weights(prices: Prices) -> Floats:
    """(W, sums): each column by itself, then weighted sums in units of a device's mean cost of all layers."""
    unit = np.eye(len(prices.sums))
    scale = prices.layer_cost.sum(axis=1).mean(axis=0)
    scale = np.where(scale > 0, scale, prices.tables.sent_bytes.mean() or 1.0)
    wanted = [prices.sums.index(name) for name in prices.objectives if name in prices.sums]
    pairs = list(combinations(wanted, 2))
    blends = [unit[a] * share + unit[b] for a, b in pairs for share in np.geomspace(0.01, 100, BLENDS)]
    return np.concatenate([unit, np.array(blends).reshape(-1, len(unit)) / scale])
