"""One pass over the cuts: labels stay on their device or move; dominated ones are discarded. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import moocore
import numpy as np

from pipeline.planning.cost import Floats, Ints
from pipeline.planning.label_setting.columns import Columns
from pipeline.planning.label_setting.known_front import KnownFront
from pipeline.planning.label_setting.labels import MOST, Labels, Trail, require_few
from pipeline.planning.label_setting.look_ahead import LookAhead
from pipeline.planning.label_setting.plan_arrays import NO_PLANS, Plans
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import Bools
from pipeline.planning.memory import needed_bytes

MOST_RETURNING = 5_000
"""The same where devices may return and the period counts: there each label is compared in more columns."""


class Pass:
    """A search under the rules of the watched devices, pruned by known plans."""

    def __init__(self, prices: Prices, ahead: LookAhead, known: Plans, watched: Bools) -> None:
        self.prices, self.ahead, self.columns = prices, ahead, Columns(prices, watched)
        self._layer_s, self._opening_s = prices.tables.times.layer_s, prices.tables.times.opening_s
        self._blends = slice(len(prices.sums), len(prices.sums) + len(ahead.blends))
        self._floor_s = 0.0
        """No plan has a shorter period, so labels of shorter ones so far do not differ in it."""
        if prices.loads:
            devices, start = np.flatnonzero(prices.startable), ahead.levels.start[-1]
            first = prices.start_cost[devices] @ ahead.weights.T + ahead.opened[start[devices], devices, 0]
            self._floor_s = float(first[:, self._blends.stop :].min(axis=0, initial=np.inf).max())
        self._known = KnownFront(prices.tables.cost(*known).columns(prices.objectives), ahead.blends)

    def run(self, most: int | None = None) -> tuple[Plans, Floats]:
        """Plans that, with the known ones, contain the front under the rules of the watched devices.

        Also what they cost if each use of an unwatched link counts alone: (plans, objectives).
        most: number of labels to follow per device; a small one quickly gives good plans, but not the front.
        Raises ConfigError if more than MOST labels remain at one cut.
        """
        trail = Trail()
        labels = self._start(trail)
        for k in range(self.prices.num_layers):
            if k > 0:
                labels = self._advance(labels, k, trail, most)
            if not len(labels):
                return NO_PLANS, np.zeros((0, len(self.prices.objectives)))
            require_few(len(labels), k, self.prices.rules, MOST_RETURNING if self.prices.loads else MOST)
            self._work(labels, k)
        nothing = np.zeros((len(labels), len(self.ahead.weights)))
        return trail.plans(labels.node, self.prices.num_layers), self._hopes(labels.used, nothing)[0]

    def _start(self, trail: Trail) -> Labels:
        device = np.flatnonzero(self.prices.startable)
        used = np.zeros((len(device), self.columns.width))
        used[:, : self.prices.width] = self.prices.start_cost[device]
        if self.columns.period >= 0:
            used[:, self.columns.period] = self.prices.fetching_s[device]
        if self.columns.busy >= 0:
            used[:, self.columns.busy] = self.prices.tables.times.start_s[device]
        self._open(used, device, 0)
        node = trail.open(0, device, np.full(len(device), -1))
        least = np.zeros(
            (len(device), len(self.ahead.levels.limit_s), self._blends.stop + len(self.prices.objectives))
        )
        return Labels(device, used, np.zeros_like(device), node, least)

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
        both = Labels.joined(stay, moved)
        compared = both.used[:, self.columns.first :]
        if self.columns.period >= 0:
            compared = compared.copy()
            period_s = compared[:, self.columns.period - self.columns.first]
            np.maximum(period_s, self._floor_s, out=period_s)
        kept = [
            rows[moocore.is_nondominated(compared[rows], keep_weakly=False)] if len(rows) > 1 else rows
            for rows in (np.flatnonzero(both.device == d) for d in range(self.prices.num_devices))
        ]
        if most is not None:
            kept = [rows[_leading(both.least[rows], most)] for rows in kept]
        rows = np.concatenate(kept)
        labels = both.take(rows)
        opened = rows >= len(stay)
        labels.node[opened] = trail.open(k, labels.device[opened], labels.node[opened])
        return labels

    def _stay(self, labels: Labels, k: int) -> Labels:
        """The labels that can run layer k in the current stage."""
        last = self.prices.fits[labels.device, labels.begin]
        labels, last = labels.take(last > k), last[last > k]
        fits = self._fits(labels, k)
        labels, last = labels.take(fits), last[fits]
        row, block = np.nonzero(np.isfinite(labels.least[:, :, 0]))
        return self._promising(labels, row, block, self._rest(labels, row, block, k, last))

    def _rest(self, labels: Labels, row: Ints, block: Ints, k: int, last: Ints) -> Floats:
        """(pairs, W): lower bounds on the cost from cut k on of labels that stay on their device.

        row, block: the pairs. The current stage will end at one of the cuts k + 1 to `last` (labels,).
        """
        spent, device, last = self.ahead.spent, labels.device[row], last[row]
        level = self._level(labels.used)[row] + self.ahead.levels.per_block * block
        if "period_s" not in self.prices.objectives:
            least = np.minimum.accumulate(spent[:, k + 1 :] + self.ahead.onward[:, :, k + 1 :], axis=2)
            return np.asarray(least[level, device, last - k - 1] - spent[device, k])
        times = self.prices.tables.times
        more_s = times.layers_s[:, k + 1 :] - times.layers_s[:, [k]]
        more_s[:, :-1] += times.encode_s[:, k + 1 : -1]
        end_s = self._load_s(labels)[row, None] + more_s[device]
        late = (end_s > self.ahead.levels.limit_s[block, None]) | (
            np.arange(k + 1, self.prices.num_layers + 1) > last[:, None]
        )
        total = spent[device, k + 1 :] + self.ahead.onward[level, device, k + 1 :]
        total[late] = np.inf
        return np.asarray(total.min(axis=1) - spent[device, k])

    def _load_s(self, labels: Labels) -> Floats:
        """(labels,): seconds that the current device is busy so far."""
        if self.columns.busy >= 0:
            return np.asarray(labels.used[:, self.columns.busy])
        return np.asarray(labels.used[np.arange(len(labels)), len(self.prices.sums) + labels.device])

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
        used[:, : self.prices.width] += self.prices.move_cost[k, sender, device]
        if self.columns.period >= 0:
            slowest_s = self.prices.sending_s[k, sender, device]
            if self.columns.busy >= 0:
                closed_s = used[:, self.columns.busy] + self.prices.tables.times.encode_s[sender, k]
                slowest_s = np.maximum(closed_s, slowest_s)
                used[:, self.columns.busy] = self._opening_s[device, k]
            used[:, self.columns.period] = np.maximum(used[:, self.columns.period], slowest_s)
        self._open(used, device, k)
        moved = Labels(device, used, np.full(len(device), k), labels.node[row], labels.least[row])
        moved = moved.take(self._fits(moved, k))
        row, block = np.nonzero(np.isfinite(moved.least[:, :, 0]))
        level = self._level(moved.used)[row] + self.ahead.levels.per_block * block
        return self._promising(moved, row, block, self.ahead.opened[level, moved.device[row], k])

    def _work(self, labels: Labels, k: int) -> None:
        """Add layer k to each label, on its device."""
        device, used = labels.device, labels.used
        used[:, : self.prices.width] += self.prices.layer_cost[device, k]
        if self.columns.busy >= 0:
            used[:, self.columns.busy] += self._layer_s[device, k]
        rows = np.flatnonzero(self.columns.memory_of[device] >= 0)
        if len(rows):
            column = self.columns.memory_of[device[rows]]
            used[rows, column] += self._more_bytes(labels.begin[rows], k)
            used[rows, column + 1] = np.maximum(
                used[rows, column + 1], self.prices.tables.peak_bytes[k, k + 1]
            )

    def _promising(self, labels: Labels, row: Ints, block: Ints, rest: Floats) -> Labels:
        """The labels that can still become a plan that no known one equals or beats.

        row, block: the pairs of a label and a block in which it could before. rest: (pairs, W), lower bounds
        on the cost of the remaining layers.
        """
        possible = np.isfinite(rest).all(axis=1)
        row, block, rest = row[possible], block[possible], rest[possible]
        hopes, least = self._hopes(labels.used[row], rest)
        beaten = np.zeros(len(row), dtype=bool)
        if self.columns.period >= 0:
            period_s = hopes[:, self.prices.objectives.index("period_s")]
            beaten = period_s > self.ahead.levels.limit_s[block]
            np.maximum(period_s, self.ahead.levels.floor_s[block], out=period_s)
        beaten |= self._known.beats(hopes, least[:, self._blends])
        bounds = np.full((len(labels), *labels.least.shape[1:]), np.inf)
        bounds[row[~beaten], block[~beaten]] = np.concatenate([least[:, : self._blends.stop], hopes], axis=1)[
            ~beaten
        ]
        alive = np.asarray(np.isfinite(bounds[:, :, 0]).any(axis=1))
        return replace(labels, least=bounds).take(alive)

    def _hopes(self, used: Floats, rest: Floats) -> tuple[Floats, Floats]:
        """Lower bounds of completions: (labels, objectives) and (labels, W); rest: (labels, W)."""
        prices, columns = self.prices, self.columns
        least = used[:, : prices.width] @ self.ahead.weights.T + rest
        hopes = []
        for name in prices.objectives:
            if name == "period_s":
                figures = [used[:, [columns.period]], used[:, len(prices.sums) : prices.width]]
                if columns.busy >= 0:
                    figures.append(used[:, [columns.busy]])
                figures.append(least[:, self._blends.stop :])
                hopes.append(np.concatenate(figures, axis=1).max(axis=1))
                continue
            column = prices.sums.index(name)
            hope = least[:, column]
            if name in prices.rates:
                flagged = columns.held_of >= 0
                held_rate = used[:, columns.held_of[flagged]] @ prices.rates[name][flagged]
                held = held_rate * least[:, prices.sums.index("latency_s")]
                hope = hope + held
                least[:, self._blends] += held[:, None] * self.ahead.weights[self._blends, column]
            hopes.append(hope)
        return np.stack(hopes, axis=1), least

    def _level(self, used: Floats) -> Ints:
        """(labels,): the level within a block: what the rest of the plan may still use."""
        if self.ahead.levels.has_sets:
            free = used[:, self.columns.held_of] == 0
            return np.asarray(free @ (1 << np.arange(self.prices.num_devices)))
        if self.columns.stages >= 0:
            return (cast(int, self.prices.rules.max_stages) - used[:, self.columns.stages]).astype(np.int64)
        return np.zeros(len(used), dtype=np.int64)


def _leading(least: Floats, most: int) -> Ints:
    """Rows of the labels that are among the least in some column (labels, ...), about `most` in total."""
    if len(least) <= most:
        return np.arange(len(least))
    columns = least.reshape(len(least), -1)
    share = max(1, most // columns.shape[1])
    first = np.argpartition(columns, share - 1, axis=0)[:share]
    return np.unique(first[np.isfinite(np.take_along_axis(columns, first, 0))])
