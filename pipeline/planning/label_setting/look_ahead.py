"""Lower bounds on the cost of the remaining layers, and the plans that reach them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np

from pipeline.planning.cost import Floats
from pipeline.planning.label_setting.levels import Levels
from pipeline.planning.label_setting.plan_arrays import Plans
from pipeline.planning.label_setting.prices import Prices

BLENDS = 9
"""Number of weighted sums of each pair of objectives whose best plans guide the search from the start."""
STEPS = 100
"""Steps towards the mean of the devices' loads that bounds the period best."""
LEANS = (0.5, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 2.0)
"""Factors of one device's weight in the other means."""


@dataclass(frozen=True, eq=False)
class LookAhead:
    """The least cost of the remaining layers by each column of `Prices.sums`, and by weighted sums of them.

    Only these rules apply here: each stage alone fits its device, and those of `Levels`. So these are lower
    bounds. There are W rows of weights: the first select the columns of `Prices.sums`, the next `blends`
    are weighted sums of two of them, and the others are means of the devices' `Prices.loads`.
    """

    levels: Levels
    weights: Floats
    """(W, width)."""
    blends: Floats
    """(blends, objectives): the weights of the objectives in those rows that are weighted sums of two."""
    spent: Floats
    """(D, L + 1, W): cost of running the first k layers on a device."""
    onward: Floats
    """(levels, D, L + 1, W): least cost from a cut on, if the stage on a device ends there."""
    opened: Floats
    """(levels, D, L + 1, W): least cost from a cut on, if a stage on a device begins there."""
    guesses: list[Plans]
    """The plan of least cost by each row of weights and block of levels, as arrays of one plan each."""

    @classmethod
    def of(cls, prices: Prices) -> Self:
        """Search backwards from the last cut."""
        means = _means(prices)
        weights, blends = _weights(prices, means)
        levels = Levels.of(prices, len(weights))
        back = _Backwards(prices, weights, levels)
        onward, opened = (
            np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in (back.onward, back.opened[:-1])
        )
        spent = np.ascontiguousarray(back.spent.transpose(1, 2, 0))
        return cls(levels, weights, blends, spent, onward, opened, back.guesses())


class _Backwards:
    """The search, cut by cut; the axes are (levels, W, D, L + 1).

    ends: the best end of a stage that begins at a cut. heirs: the best next device after a stage that ends
    there. The last level of `opened` stands for no level: its costs are infinite.
    """

    def __init__(self, prices: Prices, weights: Floats, levels: Levels) -> None:
        self._prices, self._weights, self._levels = prices, weights, levels
        n, count = prices.num_layers, len(levels.after)
        limit_s = np.repeat(levels.limit_s, levels.per_block)[:, None, None]
        limited = bool(np.isfinite(limit_s).any())
        with np.errstate(invalid="ignore"):  # an infinite price times a weight of 0
            move = np.einsum("kdes,ws->wkde", prices.move_cost, weights)
        move[:, :, ~prices.connected] = np.inf
        self.spent = np.zeros((len(weights), prices.num_devices, n + 1))
        self.spent[:, :, 1:] = np.cumsum(np.einsum("dls,ws->wdl", prices.layer_cost, weights), axis=2)
        shape = (count, *self.spent.shape)
        self.onward, self.opened = np.zeros(shape), np.full((count + 1, *shape[1:]), np.inf)
        self.ends, self.heirs = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        cuts = np.arange(n + 1)
        stage_s = prices.tables.times.all_stages(codecs=True) if limited else np.zeros((0, 0, 0))
        to = np.arange(prices.num_devices)
        for k in range(n - 1, -1, -1):
            total = self.spent[:, :, k + 1 :] + self.onward[:, :, :, k + 1 :]
            total[:, :, cuts[k + 1 :] > prices.fits[:, k, None]] = np.inf
            if limited:
                total += np.where(stage_s[:, k, k + 1 :] > limit_s, np.inf, 0.0)[:, None]
            best = total.argmin(axis=3)
            least = np.take_along_axis(total, best[..., None], 3)[..., 0]
            self.opened[:-1, :, :, k] = least - self.spent[:, :, k]
            self.ends[:, :, :, k] = k + 1 + best
            entered = self.opened[levels.after, :, to, k]  # (levels, to, W)
            following = move[:, k] + entered.transpose(0, 2, 1)[:, :, None, :]
            if limited:
                following += np.where(prices.sending_s[k] > limit_s, np.inf, 0.0)[:, None]
            self.heirs[:, :, :, k] = following.argmin(axis=3)
            self.onward[:, :, :, k] = following.min(axis=3)

    def guesses(self) -> list[Plans]:
        """The plan of least cost by each row of weights and in each block, if any is possible."""
        prices, levels = self._prices, self._levels
        found = []
        devices = np.arange(prices.num_devices)
        for start, limit_s in zip(levels.start, levels.limit_s, strict=True):
            with np.errstate(invalid="ignore"):  # an infinite price times a weight of 0
                first = self._weights @ prices.start_cost.T + self.opened[start, :, devices, 0].T
            first[:, ~prices.startable | (prices.fetching_s > limit_s)] = np.inf
            for w in np.flatnonzero(np.isfinite(first.min(axis=1))):
                device, cut = int(first[w].argmin()), 0
                level = int(start[device])
                bounds, where = [0], []
                while cut < prices.num_layers:
                    where.append(device)
                    cut = int(self.ends[level, w, device, cut])
                    bounds.append(cut)
                    if cut < prices.num_layers:
                        device = int(self.heirs[level, w, device, cut])
                        level = int(levels.after[level, device])
                found.append((np.array([bounds]), np.array([where])))
        return found


def _weights(prices: Prices, means: Floats) -> tuple[Floats, Floats]:
    """The rows of `LookAhead.weights` and of `LookAhead.blends`.

    Weighted sums are in units of a device's mean cost of all layers. The first mean stands for the period.
    """
    scale = prices.layer_cost.sum(axis=1).mean(axis=0)
    scale = np.where(scale > 0, scale, prices.tables.sent_bytes.mean() or 1.0)
    unit = np.eye(prices.width)
    priced = {
        name: (unit[column] / scale[column], 1 / scale[column]) for column, name in enumerate(prices.sums)
    }
    if len(means):
        period_s = float(prices.tables.times.layers_s[:, -1].mean())
        priced["period_s"] = means[0] / period_s, 1 / period_s
    rows, blends = [], []
    for a, b in combinations([name for name in prices.objectives if name in priced], 2):
        for share in np.geomspace(0.01, 100, BLENDS):
            rows.append(priced[a][0] * share + priced[b][0])
            weight = {a: priced[a][1] * share, b: priced[b][1]}
            blends.append([weight.get(name, 0.0) for name in prices.objectives])
    parts = unit[: len(prices.sums)], np.array(rows).reshape(-1, prices.width), means
    return np.concatenate(parts), np.array(blends).reshape(-1, len(prices.objectives))


def _means(prices: Prices) -> Floats:
    """(W, width): weighted means of the devices' loads, each of which is a lower bound of the period.

    The first is near the one whose least value over all placements of the layers is largest (the dual of
    sharing layers among devices without transfers); the others lean towards or away from one device.
    """
    if not prices.loads:
        return np.zeros((0, prices.width))
    layer_s, devices = prices.tables.times.layer_s, np.arange(prices.num_devices)
    weight = 1 / layer_s.sum(axis=1)
    weight /= weight.sum()
    best, most = weight, 0.0
    for step in 1 / (1 + np.arange(STEPS)):
        choice = (weight[:, None] * layer_s).argmin(axis=0)
        load_s = np.bincount(choice, layer_s[choice, np.arange(len(choice))], len(devices))
        if (least := float(weight @ load_s)) > most:
            best, most = weight, least
        weight = weight * np.exp(0.3 * step * (load_s / load_s.mean() - 1))
        weight /= weight.sum()
    lean = 1 + (np.array(LEANS)[:, None, None] - 1) * np.eye(len(devices))
    family = np.concatenate([best[None], (best * lean).reshape(-1, len(devices))])
    means = np.zeros((len(family), prices.width))
    means[:, len(prices.sums) + devices] = family / family.sum(axis=1, keepdims=True)
    return means
