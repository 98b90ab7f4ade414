"""One pass over the cuts: labels stay on their device or move; dominated ones are discarded. Pure."""

from __future__ import annotations

from typing import cast

import moocore
import numpy as np

from pipeline.domain.checks import require
from pipeline.planning.cost import Floats, Ints
from pipeline.planning.label_setting.columns import Columns
from pipeline.planning.label_setting.known_front import KnownFront
from pipeline.planning.label_setting.labels import Labels, Trail
from pipeline.planning.label_setting.look_ahead import LookAhead
from pipeline.planning.label_setting.plan_arrays import Plans
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import Bools
from pipeline.planning.memory import needed_bytes

MOST = 30_000
"""Labels at one cut beyond which a search is given up: memory limits on many devices can need any number."""


class Pass:
    """A search under the rules of the watched devices, pruned by known plans."""

    def __init__(self, prices: Prices, ahead: LookAhead, known: Plans, watched: Bools) -> None:
        self.prices, self.ahead, self.columns = prices, ahead, Columns(prices, watched)
        self._layer_s, self._opening_s = prices.tables.times.layer_s, prices.tables.times.opening_s
        self._known_plans = known
        blends = np.zeros((len(ahead.weights) - len(prices.sums), len(prices.objectives)))
        for column, name in enumerate(prices.objectives):
            if name in prices.sums:
                blends[:, column] = ahead.weights[len(prices.sums) :, prices.sums.index(name)]
        self._known = KnownFront(prices.tables.cost(*known).columns(prices.objectives), blends)

    def run(self, most: int | None = None) -> Plans:
        """Plans that, with the known ones, contain the front under the rules of the watched devices.

        most: number of labels to follow per device; a small one quickly gives good plans, but not the front.
        Raises ConfigError if more than MOST labels remain at one cut.
        """
        trail = Trail()
        labels = self._start(trail)
        for k in range(self.prices.num_layers):
            if k > 0:
                labels = self._advance(labels, k, trail, most)
            if not len(labels):
                return self._known_plans
            require(
                len(labels) <= MOST,
                f"the exact front is out of reach: more than {MOST:,} partial plans remain at layer {k} "
                f"(set distinct=true, or fewer max_stages, devices or objectives)",
            )
            self._work(labels, k)
        return trail.plans(labels.node, self.prices.num_layers)

    def _start(self, trail: Trail) -> Labels:
        device = np.flatnonzero(self.prices.startable)
        used = np.zeros((len(device), self.columns.width))
        used[:, : len(self.prices.sums)] = self.prices.start_cost[device]
        if self.columns.period >= 0:
            used[:, self.columns.period] = self.prices.fetch_s[device]
            used[:, self.columns.busy] = self.prices.tables.times.start_s[device]
        self._open(used, device, 0)
        return Labels(device, used, np.zeros_like(device), trail.open(0, device, np.full(len(device), -1)))

    def _open(self, used: Floats, device: Ints, k: int) -> None:
        """Record in `used` that each label opens a stage at cut k on its device."""
        if self.columns.stages >= 0:
            used[:, self.columns.stages] += 1
        if self.columns.reach >= 0:
            used[:, self.columns.reach] = -self.prices.fits[device, k]
        if self.columns.shared >= 0:
            used[:, self.columns.shared], used[:, self.columns.shared + 1] = k, -k
        rows = np.flatnonzero(self.columns.held_of[device] >= 0)
        used[rows, self.columns.held_of[device[rows]]] = 1.0

    def _advance(self, labels: Labels, k: int, trail: Trail, most: int | None) -> Labels:
        """The labels that run layer k, from those at cut k: they stay or move, and are then compared."""
        stay, moved = self._stay(labels, k), self._move(labels, k)
        used = np.concatenate([stay.used, moved.used])
        device = np.concatenate([stay.device, moved.device])
        kept = [
            rows[moocore.is_nondominated(used[rows], keep_weakly=False)] if len(rows) > 1 else rows
            for rows in (np.flatnonzero(device == d) for d in range(self.prices.num_devices))
        ]
        if most is not None:
            total = used[:, : len(self.prices.sums)] @ self.ahead.weights.T
            kept = [rows[_leading(total[rows], most)] for rows in kept]
        rows = np.concatenate(kept)
        node = np.concatenate([stay.node, moved.node])[rows]
        opened = rows >= len(stay)
        node[opened] = trail.open(k, device[rows[opened]], node[opened])
        begin = np.concatenate([stay.begin, moved.begin])[rows]
        return Labels(device[rows], used[rows], begin, node)

    def _stay(self, labels: Labels, k: int) -> Labels:
        """The labels that can run layer k in the current stage."""
        last = self.prices.fits[labels.device, labels.begin]
        labels, last = labels.take(last > k), last[last > k]
        # The stage will end at one of the cuts k + 1 to `last`.
        least = np.minimum.accumulate(self.ahead.spent[:, k + 1 :] + self.ahead.onward[:, :, k + 1 :], axis=2)
        device = labels.device
        rest = least[self._level(labels.used), device, last - k - 1] - self.ahead.spent[device, k]
        fits = self._fits(labels, k)
        return labels.take(fits & self._promising(labels.used, rest))

    def _fits(self, labels: Labels, k: int) -> Bools:
        """(labels,): whether a watched device can hold layer k besides its other layers of the plan."""
        fits = np.ones(len(labels), dtype=bool)
        rows = np.flatnonzero(self.columns.memory_of[labels.device] >= 0)
        if len(rows):
            device, column = labels.device[rows], self.columns.memory_of[labels.device[rows]]
            held = labels.used[rows, column] + self._more_bytes(labels.begin[rows], k)
            peak = np.maximum(labels.used[rows, column + 1], self.prices.tables.peak_bytes[k, k + 1])
            fits[rows] = needed_bytes(held, peak) <= self.prices.tables.memory_bytes[device]
        return fits

    def _more_bytes(self, begin: Ints, k: int) -> Floats:
        """Bytes of parameters that layer k adds to a stage that began at `begin`."""
        more: Floats = self.prices.tables.param_bytes[begin, k + 1] - self.prices.tables.param_bytes[begin, k]
        return more

    def _move(self, labels: Labels, k: int) -> Labels:
        """The labels that can run layer k on another device; `node` is still that of the sender."""
        allowed = self.prices.connected[labels.device] & (self.prices.fits[:, k] > k)
        if self.columns.once.any():
            allowed[:, self.columns.once] &= labels.used[:, self.columns.held_of[self.columns.once]] == 0
        if self.columns.stages >= 0:
            allowed &= (labels.used[:, self.columns.stages] < cast(int, self.prices.rules.max_stages))[
                :, None
            ]
        row, device = np.nonzero(allowed)
        sender = labels.device[row]
        used = labels.used[row]
        used[:, : len(self.prices.sums)] += self.prices.move_cost[k, sender, device]
        if self.columns.period >= 0:
            closed_s = used[:, self.columns.busy] + self.prices.tables.times.encode_s[sender, k]
            slowest_s = np.maximum(closed_s, self.prices.travel_s[k, sender, device])
            used[:, self.columns.period] = np.maximum(used[:, self.columns.period], slowest_s)
            used[:, self.columns.busy] = self._opening_s[device, k]
        self._open(used, device, k)
        moved = Labels(device, used, np.full(len(device), k), labels.node[row])
        return moved.take(
            self._promising(used, self.ahead.opened[self._level(used), device, k]) & self._fits(moved, k)
        )

    def _work(self, labels: Labels, k: int) -> None:
        """Add layer k to each label, on its device."""
        device, used = labels.device, labels.used
        used[:, : len(self.prices.sums)] += self.prices.layer_cost[device, k]
        if self.columns.period >= 0:
            used[:, self.columns.busy] += self._layer_s[device, k]
        rows = np.flatnonzero(self.columns.memory_of[device] >= 0)
        if len(rows):
            column = self.columns.memory_of[device[rows]]
            used[rows, column] += self._more_bytes(labels.begin[rows], k)
            used[rows, column + 1] = np.maximum(
                used[rows, column + 1], self.prices.tables.peak_bytes[k, k + 1]
            )

    def _promising(self, used: Floats, rest: Floats) -> Bools:
        """(labels,): whether a label can still become a plan that no known one equals or beats.

        rest: (labels, W), lower bounds on the cost of the remaining layers.
        """
        hopeful = np.flatnonzero(np.isfinite(rest).all(axis=1))
        if len(hopeful) < len(rest):
            promising = np.zeros(len(rest), dtype=bool)
            promising[hopeful] = self._promising(used[hopeful], rest[hopeful])
            return promising
        least = used[:, : len(self.prices.sums)] @ self.ahead.weights.T + rest
        hopes = []
        for name in self.prices.objectives:
            if name == "period_s":
                hopes.append(np.maximum(used[:, self.columns.period], used[:, self.columns.busy]))
                continue
            column = self.prices.sums.index(name)
            hope = least[:, column]
            if name in self.prices.rates:
                flagged = self.columns.held_of >= 0
                held_rate = used[:, self.columns.held_of[flagged]] @ self.prices.rates[name][flagged]
                held = held_rate * least[:, self.prices.sums.index("latency_s")]
                hope = hope + held
                least[:, len(self.prices.sums) :] += (
                    held[:, None] * self.ahead.weights[len(self.prices.sums) :, column]
                )
            hopes.append(hope)
        blends = least[:, len(self.prices.sums) :]
        return ~self._known.beats(np.stack(hopes, axis=1), blends)

    def _level(self, used: Floats) -> Ints:
        """(labels,): index on the first axis of `onward` and `opened`: number of stages that may follow."""
        if self.columns.stages < 0:
            return np.zeros(len(used), dtype=np.int64)
        return (cast(int, self.prices.rules.max_stages) - used[:, self.columns.stages]).astype(np.int64)


def _leading(totals: Floats, most: int) -> Ints:
    """Rows that are among the least in some column, about `most` in total."""
    if len(totals) <= most:
        return np.arange(len(totals))
    share = max(1, most // totals.shape[1])
    return np.unique(np.argpartition(totals, share - 1, axis=0)[:share])
