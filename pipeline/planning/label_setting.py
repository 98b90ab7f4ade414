"""Label setting: the search behind `pipeline.planning.exact_front`. Pure.

E. Martins, "On a multicriteria shortest path problem", EJOR 16 (1984), over the states (cut, device at work):
a label is a partial plan with what it has cost so far and what it has used up. A label goes if another at the
same state is nowhere worse, or if even the best that can still come of it is no better than a whole plan
already known. What is left at the last cut is the front: nothing is sampled or rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import cast

import moocore
import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import require
from pipeline.planning.cost import NOWHERE, Floats, Ints, Tables
from pipeline.planning.memory import needed_bytes

BLENDS = 9
"""Weighted sums of each pair of objectives whose best plans guide the search from its start."""
FEW = 33
"""Labels a device that a first, hasty search follows."""
MOST = 30_000
"""Labels at one cut beyond which a search gives up: memory limits on many devices can need any number."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PlanRules:
    """Which plans count."""

    distinct: bool = False
    """Each device holds one stage at most."""
    memory: bool = True
    """What a plan needs of a device must fit into its memory."""
    max_stages: int | None = None


def front_arrays(tables: Tables, objectives: tuple[str, ...], rules: PlanRules) -> tuple[Ints, Ints, Floats]:
    """The front as arrays: bounds and device indices (as `Tables.cost` takes them), and costs; perhaps empty.

    Rules about all stages of a device together cost a column for each device in every comparison. So the
    search watches no device at first, and goes on with those whose rule its front breaks, until none is
    broken: a relaxed front that breaks no rule is the front. Where there are such rules, a search of few
    labels goes before: the better the known plans, the fewer labels the exact one has to follow.
    """
    search = _Search(tables, objectives, rules)
    known = search.seeds()
    watched = np.zeros(len(tables.names), dtype=bool)
    found = (*known, np.zeros((0, len(objectives))))
    for most in (FEW, None) if search.has_joint_rules else (None,):
        settled = False
        while not settled:
            found = _non_dominated(tables, objectives, *_joined(known, search.run(known, watched, most)))
            broken = search.broken(*found[:2])
            settled = not broken.any()
            obey = ~broken.any(axis=1)
            known = _non_dominated(tables, objectives, *_joined(known, (found[0][obey], found[1][obey])))[:2]
            watched = watched | broken.any(axis=0)
    return found


Plans = tuple[Ints, Ints]
"""Bounds (plans, stages + 1) and device indices (plans, stages), as `Tables.cost` takes them."""


def _joined(*plans: Plans) -> Plans:
    """Plans one after the other, the shorter padded with empty stages at the end."""
    width = max(where.shape[1] for _, where in plans)
    bounds = [np.pad(b, ((0, 0), (0, width + 1 - b.shape[1])), mode="edge") for b, _ in plans if len(b)]
    wheres = [np.pad(w, ((0, 0), (0, width - w.shape[1]))) for _, w in plans if len(w)]
    if not bounds:
        return np.zeros((0, width + 1), dtype=np.int64), np.zeros((0, width), dtype=np.int64)
    return np.concatenate(bounds), np.concatenate(wheres)


def _non_dominated(
    tables: Tables, objectives: tuple[str, ...], bounds: Ints, where: Ints
) -> tuple[Ints, Ints, Floats]:
    """Those that no other dominates, one for each outcome, by the first objective.

    Outcomes count as equal where they differ in the 13th digit: by the order of a sum, not by the plan.
    """
    cost = tables.cost(bounds, where)
    linked = np.isfinite(cost.latency_s)
    bounds, where, costs = bounds[linked], where[linked], cost.columns(objectives)[linked]
    mantissa, exponent = np.frexp(costs)
    outcomes = np.ldexp(np.round(mantissa, 12), exponent)
    best = (
        np.flatnonzero(moocore.is_nondominated(outcomes, keep_weakly=False)) if len(costs) else np.arange(0)
    )
    best = best[np.lexsort(costs[best].T[::-1])]
    return bounds[best], where[best], costs[best]


@dataclass(frozen=True, eq=False)
class _Labels:
    """Partial plans at one cut. Columns of `used` are what dominance compares; see `_Search`."""

    device: Ints
    used: Floats
    begin: Ints
    """Where the stage at work began."""
    node: Ints
    """The stage at work, and through its parents those before it; see `_Trail`."""

    def take(self, rows: Ints | Bools) -> _Labels:
        return _Labels(self.device[rows], self.used[rows], self.begin[rows], self.node[rows])

    def __len__(self) -> int:
        return len(self.device)


class _Trail:
    """Every stage that some label ever opened: the cut where it begins, its device, the stage before."""

    def __init__(self) -> None:
        self._chunks: list[tuple[Ints, Ints, Ints]] = []
        self._count = 0

    def open(self, begin: int, device: Ints, parent: Ints) -> Ints:
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


class _Search:
    """What all searches of one problem share, and the search. A label's columns, all better when less:

    sums      of each objective but the period; the latency too where held devices cost per second
    period    the busiest closed device or link so far; busy: seconds of the device at work
    stages    how many so far
    reach     minus the layer up to which the stage at work fits its device (where some would not fit)
    memory    parameters and peak of each watched device
    held      one flag for each device that costs while it is held, or that is watched and may not come again
    shared    where stages share parameters, when the stage at work began: labels that differ are kept
    """

    def __init__(self, tables: Tables, objectives: tuple[str, ...], rules: PlanRules) -> None:
        self.tables, self.objectives, self.rules = tables, objectives, rules
        self.num_devices, self.num_layers = len(tables.names), tables.num_layers
        rates = {"energy_j": tables.held_w, "carbon_g": tables.held_g_per_s}
        self.rates = {name: rates[name] for name in objectives if name in rates and rates[name].any()}
        self.sums = [name for name in objectives if name != "period_s"]
        if "latency_s" not in self.sums and (self.rates or not self.sums):
            self.sums.append("latency_s")
        # fits[d, b]: the last cut that a stage on device d from cut b may reach; b if no layer fits.
        need = tables.stage_bytes
        layers = np.triu(np.ones_like(need, dtype=bool), 1)
        self.fits = np.full((self.num_devices, self.num_layers + 1), self.num_layers)
        if rules.memory:
            for d, room in enumerate(tables.memory_bytes):
                self.fits[d] = np.arange(self.num_layers + 1) + (layers & (need <= room)).sum(axis=1)
        self._price()
        self._look_ahead()

    def _price(self) -> None:
        """What each column of `sums` pays for running a layer, for moving to a device, and for starting."""
        t, shape = self.tables, (self.num_layers + 1, self.num_devices, self.num_devices)
        w = t.dynamic_w + t.busy_idle_w
        g = w * t.g_per_j
        layer_s = t.times.layer_s
        travel_s = t.link_latency_s + t.sent_bytes[:, None, None] * t.link_s_per_byte
        encode_s, receive_s = t.times.encode_s.T[:, :, None], t.times.opening_s.T[:, None, :]
        moved = np.broadcast_to(t.sent_bytes[:, None, None], shape)
        # The first stage decodes nothing; its input comes from the source, or from nowhere at no cost.
        devices = np.arange(self.num_devices)
        fetched = np.where((t.source == NOWHERE) | (devices == t.source), 0.0, t.sent_bytes[0])
        fetch_s = np.where(fetched > 0, travel_s[0, t.source], 0.0)
        priced = {
            "latency_s": (
                layer_s,
                t.dispatch_s + travel_s + encode_s + receive_s,
                t.dispatch_s + fetch_s + t.times.start_s,
            ),
            "energy_j": (
                layer_s * w[:, None],
                encode_s * w[:, None] + receive_s * w + moved * t.link_j_per_byte,
                t.times.start_s * w + fetched * t.link_j_per_byte[t.source],
            ),
            "carbon_g": (
                layer_s * g[:, None],
                encode_s * g[:, None] + receive_s * g + moved * t.link_g_per_byte,
                t.times.start_s * g + fetched * t.link_g_per_byte[t.source],
            ),
            "transfer_bytes": (np.zeros_like(layer_s), moved, fetched),
        }
        layer, move, start = zip(*(priced[name] for name in self.sums), strict=True)
        self.layer_cost = np.stack(layer, axis=-1)  # (D, L, sums)
        self.move_cost = np.stack(
            [np.broadcast_to(m, shape) for m in move], axis=-1
        )  # (L + 1, from, to, sums)
        self.start_cost = np.stack(start, axis=-1)  # (D, sums)
        self.connected = np.isfinite(t.link_latency_s) & ~np.eye(self.num_devices, dtype=bool)
        self.move_cost[:, ~self.connected] = np.inf
        self.startable = np.isfinite(fetch_s) & (self.fits[:, 0] > 0)
        self.layer_s, self.travel_s, self.fetch_s, self.receive_s = (
            layer_s,
            travel_s,
            fetch_s,
            receive_s[:, 0],
        )

    def _look_ahead(self) -> None:
        """The cheapest way to the end by each column of `sums`, and by weighted sums of them, under no rule
        but that each stage by itself must fit and that there are not too many.

        onward[l, w, d, e]: leave a stage on device d at cut e; opened[l, w, d, k]: open one at cut k; both
        for the weights of row w, the first rows being the columns themselves, where l stages may follow.
        """
        n, count = self.num_layers, self.num_devices
        self.weights = self._weights()
        with np.errstate(invalid="ignore"):  # an infinite price times a weight of 0
            move = np.einsum("kdes,ws->wkde", self.move_cost, self.weights)
        move[:, :, ~self.connected] = np.inf
        self.spent = np.zeros((len(self.weights), count, n + 1))
        self.spent[:, :, 1:] = np.cumsum(np.einsum("dls,ws->wdl", self.layer_cost, self.weights), axis=2)
        levels = self.rules.max_stages or 1
        shape = (levels, *self.spent.shape)
        self.onward, self.opened = np.zeros(shape), np.zeros(shape)
        ends = np.zeros(shape, dtype=np.int64)  # where a stage opened at k best ends
        heirs = np.zeros(shape, dtype=np.int64)  # the device that best follows one that ends at k
        cuts = np.arange(n + 1)
        for level, k in product(range(levels), range(n - 1, -1, -1)):
            total = self.spent[:, :, k + 1 :] + self.onward[level, :, :, k + 1 :]
            total[:, cuts[k + 1 :] > self.fits[:, k, None]] = np.inf
            best = total.argmin(axis=2)
            least = np.take_along_axis(total, best[:, :, None], 2)[:, :, 0]
            self.opened[level, :, :, k] = least - self.spent[:, :, k]
            ends[level, :, :, k] = k + 1 + best
            if self.rules.max_stages is None:
                following = move[:, k] + self.opened[level, :, None, :, k]
            elif level > 0:
                following = move[:, k] + self.opened[level - 1, :, None, :, k]
            else:
                following = np.full_like(move[:, k], np.inf)
            heirs[level, :, :, k] = following.argmin(axis=2)
            self.onward[level, :, :, k] = following.min(axis=2)
        first = np.einsum("ds,ws->wd", self.start_cost, self.weights) + self.opened[-1, :, :, 0]
        first[:, ~self.startable] = np.inf
        self.guesses = []
        for w in np.flatnonzero(np.isfinite(first.min(axis=1))):
            device, cut, level = int(first[w].argmin()), 0, levels - 1
            bounds, where = [0], []
            while cut < n:
                where.append(device)
                cut = int(ends[level, w, device, cut])
                bounds.append(cut)
                device = int(heirs[level, w, device, cut])
                level -= self.rules.max_stages is not None
            self.guesses.append((np.array([bounds]), np.array([where])))
        # From here on by label: (levels,) device, cut, weights.
        self.spent = np.ascontiguousarray(self.spent.transpose(1, 2, 0))
        self.onward, self.opened = (
            np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in (self.onward, self.opened)
        )

    def _level(self, used: Floats) -> Ints:
        """Index of the first axis of `onward` and `opened`: how many stages may follow."""
        if self.stages < 0:
            return np.zeros(len(used), dtype=np.int64)
        return (cast(int, self.rules.max_stages) - used[:, self.stages]).astype(np.int64)

    def _weights(self) -> Floats:
        """Rows over `sums`: each column by itself, then blends in units of what a device takes for all."""
        unit = np.eye(len(self.sums))
        scale = self.layer_cost.sum(axis=1).mean(axis=0)
        scale = np.where(scale > 0, scale, self.tables.sent_bytes.mean() or 1.0)
        wanted = [self.sums.index(name) for name in self.objectives if name in self.sums]
        pairs = list(combinations(wanted, 2))
        blends = [unit[a] * share + unit[b] for a, b in pairs for share in np.geomspace(0.01, 100, BLENDS)]
        return np.concatenate([unit, np.array(blends).reshape(-1, len(unit)) / scale])

    # --- whole plans

    def broken(self, bounds: Ints, where: Ints) -> Bools:
        """(plans, D): whose device breaks a rule about all of its stages together."""
        broken = np.zeros((len(bounds), self.num_devices), dtype=bool)
        if self.rules.distinct:
            real = bounds[:, 1:] > bounds[:, :-1]
            place = np.arange(len(bounds))[:, None] * self.num_devices + where
            uses = np.bincount(place[real], minlength=broken.size)
            broken |= uses.reshape(broken.shape) > 1
        if self.rules.memory:
            broken |= self.tables.memory_need_bytes(bounds, where) > self.tables.memory_bytes
        return broken

    def seeds(self) -> Plans:
        """The best plans of one and two stages and the guesses, as far as they obey all rules."""
        n, count = self.num_layers, self.num_devices
        device = np.arange(count)
        cut, a, b = (x.ravel() for x in np.meshgrid(np.arange(1, n), device, device))
        cut, a, b = cut[a != b], a[a != b], b[a != b]
        singles = np.tile([0, n], (count, 1)), device[:, None]
        splits = np.stack([np.zeros_like(cut), cut, np.full_like(cut, n)], axis=1), np.stack([a, b], axis=1)
        bounds, where = _joined(singles, splits, *self.guesses)
        allowed = ~self.broken(bounds, where).any(axis=1)
        if self.rules.max_stages is not None:
            allowed &= (bounds[:, 1:] > bounds[:, :-1]).sum(axis=1) <= self.rules.max_stages
        bounds, where, _ = _non_dominated(self.tables, self.objectives, bounds[allowed], where[allowed])
        return bounds, where

    # --- partial plans

    @property
    def has_joint_rules(self) -> bool:
        """Whether a rule looks at all stages of a device together."""
        return self.rules.distinct or bool((self.fits[:, 0] < self.num_layers).any())

    def run(self, known: Plans, watched: Bools, most: int | None = None) -> Plans:
        """Plans that, with the known ones, hold the front under the rules of the watched devices; or, where
        only so many labels a device are followed, good ones."""
        self._lay_out_columns(watched)
        blends = np.zeros((len(self.weights) - len(self.sums), len(self.objectives)))
        for column, name in enumerate(self.objectives):
            if name in self.sums:
                blends[:, column] = self.weights[len(self.sums) :, self.sums.index(name)]
        self._known = _Known(self.tables.cost(*known).columns(self.objectives), blends)
        trail = _Trail()
        labels = self._start(trail)
        for k in range(self.num_layers):
            if k > 0:
                labels = self._advance(labels, k, trail, most)
            if not len(labels):
                return known
            require(
                len(labels) <= MOST,
                f"the exact front is out of reach: more than {MOST:,} partial plans matter at layer {k} "
                f"(set distinct=true, or fewer max_stages, devices or objectives)",
            )
            self._work(labels, k)
        return trail.plans(labels.node, self.num_layers)

    def _lay_out_columns(self, watched: Bools) -> None:
        width = len(self.sums)
        self.period = self.busy = self.stages = self.reach = self.shared = -1
        if "period_s" in self.objectives:
            self.period, self.busy, width = width, width + 1, width + 2
        if self.rules.max_stages is not None:
            self.stages, width = width, width + 1
        if (self.fits[:, :-1] < self.num_layers).any():
            self.reach, width = width, width + 1
        self.memory_of = np.full(self.num_devices, -1)
        if self.rules.memory and not self.rules.distinct and watched.any():
            self.memory_of[watched] = width + 2 * np.arange(watched.sum())
            width += 2 * int(watched.sum())
            layer_bytes = np.diagonal(self.tables.param_bytes, 1)
            if layer_bytes.sum() > self.tables.param_bytes[0, -1]:
                self.shared, width = width, width + 2
        flagged = watched & self.rules.distinct
        for rate in self.rates.values():
            flagged = flagged | (rate > 0)
        self.once = flagged & watched & self.rules.distinct
        self.held_of = np.full(self.num_devices, -1)
        self.held_of[flagged] = width + np.arange(flagged.sum())
        self.width = width + int(flagged.sum())

    def _start(self, trail: _Trail) -> _Labels:
        device = np.flatnonzero(self.startable)
        used = np.zeros((len(device), self.width))
        used[:, : len(self.sums)] = self.start_cost[device]
        if self.period >= 0:
            used[:, self.period] = self.fetch_s[device]
            used[:, self.busy] = self.tables.times.start_s[device]
        self._open(used, device, 0)
        return _Labels(device, used, np.zeros_like(device), trail.open(0, device, np.full(len(device), -1)))

    def _open(self, used: Floats, device: Ints, k: int) -> None:
        """Note that each label opens a stage at cut k on its device."""
        if self.stages >= 0:
            used[:, self.stages] += 1
        if self.reach >= 0:
            used[:, self.reach] = -self.fits[device, k]
        if self.shared >= 0:
            used[:, self.shared], used[:, self.shared + 1] = k, -k
        rows = np.flatnonzero(self.held_of[device] >= 0)
        used[rows, self.held_of[device[rows]]] = 1.0

    def _advance(self, labels: _Labels, k: int, trail: _Trail, most: int | None) -> _Labels:
        """From the labels that reached cut k to those that should run layer k: stay or move, then compare."""
        stay, moved = self._stay(labels, k), self._move(labels, k)
        used = np.concatenate([stay.used, moved.used])
        device = np.concatenate([stay.device, moved.device])
        kept = [
            rows[moocore.is_nondominated(used[rows], keep_weakly=False)] if len(rows) > 1 else rows
            for rows in (np.flatnonzero(device == d) for d in range(self.num_devices))
        ]
        if most is not None:
            total = used[:, : len(self.sums)] @ self.weights.T
            kept = [rows[_leading(total[rows], most)] for rows in kept]
        rows = np.concatenate(kept)
        node = np.concatenate([stay.node, moved.node])[rows]
        opened = rows >= len(stay)
        node[opened] = trail.open(k, device[rows[opened]], node[opened])
        begin = np.concatenate([stay.begin, moved.begin])[rows]
        return _Labels(device[rows], used[rows], begin, node)

    def _stay(self, labels: _Labels, k: int) -> _Labels:
        """The labels that could run layer k in the stage at work."""
        last = self.fits[labels.device, labels.begin]
        labels, last = labels.take(last > k), last[last > k]
        # The stage will end at some cut from k + 1 on, at `last` at the latest.
        least = np.minimum.accumulate(self.spent[:, k + 1 :] + self.onward[:, :, k + 1 :], axis=2)
        device = labels.device
        rest = least[self._level(labels.used), device, last - k - 1] - self.spent[device, k]
        fits = self._fits(labels, k)
        return labels.take(fits & self._promising(labels.used, rest))

    def _fits(self, labels: _Labels, k: int) -> Bools:
        """Whether a watched device can hold layer k beside all it holds of the plan."""
        fits = np.ones(len(labels), dtype=bool)
        rows = np.flatnonzero(self.memory_of[labels.device] >= 0)
        if len(rows):
            device, column = labels.device[rows], self.memory_of[labels.device[rows]]
            held = labels.used[rows, column] + self._more_bytes(labels.begin[rows], k)
            peak = np.maximum(labels.used[rows, column + 1], self.tables.peak_bytes[k, k + 1])
            fits[rows] = needed_bytes(held, peak) <= self.tables.memory_bytes[device]
        return fits

    def _more_bytes(self, begin: Ints, k: int) -> Floats:
        """What layer k adds to the parameters of stages that began there."""
        more: Floats = self.tables.param_bytes[begin, k + 1] - self.tables.param_bytes[begin, k]
        return more

    def _move(self, labels: _Labels, k: int) -> _Labels:
        """The labels that could run layer k on another device; `node` is still that of the sender."""
        allowed = self.connected[labels.device] & (self.fits[:, k] > k)
        if self.once.any():
            allowed[:, self.once] &= labels.used[:, self.held_of[self.once]] == 0
        if self.stages >= 0:
            allowed &= (labels.used[:, self.stages] < cast(int, self.rules.max_stages))[:, None]
        row, device = np.nonzero(allowed)
        sender = labels.device[row]
        used = labels.used[row]
        used[:, : len(self.sums)] += self.move_cost[k, sender, device]
        if self.period >= 0:
            closed_s = used[:, self.busy] + self.tables.times.encode_s[sender, k]
            slowest_s = np.maximum(closed_s, self.travel_s[k, sender, device])
            used[:, self.period] = np.maximum(used[:, self.period], slowest_s)
            used[:, self.busy] = self.receive_s[k, device]
        self._open(used, device, k)
        moved = _Labels(device, used, np.full(len(device), k), labels.node[row])
        return moved.take(
            self._promising(used, self.opened[self._level(used), device, k]) & self._fits(moved, k)
        )

    def _work(self, labels: _Labels, k: int) -> None:
        """Each label runs layer k where it is."""
        device, used = labels.device, labels.used
        used[:, : len(self.sums)] += self.layer_cost[device, k]
        if self.period >= 0:
            used[:, self.busy] += self.layer_s[device, k]
        rows = np.flatnonzero(self.memory_of[device] >= 0)
        if len(rows):
            column = self.memory_of[device[rows]]
            used[rows, column] += self._more_bytes(labels.begin[rows], k)
            used[rows, column + 1] = np.maximum(used[rows, column + 1], self.tables.peak_bytes[k, k + 1])

    def _promising(self, used: Floats, rest: Floats) -> Bools:
        """Which labels could still become a plan that no known one equals or beats.

        rest: the least that the layers to come cost, by each row of weights.
        """
        hopeful = np.flatnonzero(np.isfinite(rest).all(axis=1))
        if len(hopeful) < len(rest):
            promising = np.zeros(len(rest), dtype=bool)
            promising[hopeful] = self._promising(used[hopeful], rest[hopeful])
            return promising
        least = used[:, : len(self.sums)] @ self.weights.T + rest
        hopes = []
        for name in self.objectives:
            if name == "period_s":
                hopes.append(np.maximum(used[:, self.period], used[:, self.busy]))
                continue
            column = self.sums.index(name)
            hope = least[:, column]
            if name in self.rates:
                flagged = self.held_of >= 0
                held_rate = used[:, self.held_of[flagged]] @ self.rates[name][flagged]
                held = held_rate * least[:, self.sums.index("latency_s")]
                hope = hope + held
                least[:, len(self.sums) :] += held[:, None] * self.weights[len(self.sums) :, column]
            hopes.append(hope)
        blends = least[:, len(self.sums) :]
        return ~self._known.beats(np.stack(hopes, axis=1), blends)


def _leading(totals: Floats, most: int) -> Ints:
    """Rows that lead in some column, about `most` in all."""
    if len(totals) <= most:
        return np.arange(len(totals))
    share = max(1, most // totals.shape[1])
    return np.unique(np.argpartition(totals, share - 1, axis=0)[:share])


class _Known:
    """Values of known plans, against which the best that a label can hope for is held.

    Of two objectives known plans leave a staircase, and a plan that none of them equals or beats lies below
    one of its inner corners (Przybylski and Gandibleux, "Multi-objective branch and bound", EJOR 260, 2017).
    So a label has hope if one corner lies beyond its bounds in each objective and in each blend of them.
    """

    def __init__(self, values: Floats, blends: Floats) -> None:
        self._values = values
        if values.shape[1] == 2:
            order = np.lexsort(values.T[::-1])
            first, second = values[order].T
            self._corners = np.stack([np.append(first, np.inf), np.insert(second, 0, np.inf)])
            with np.errstate(invalid="ignore"):
                self._blends = np.nan_to_num(blends @ self._corners, nan=np.inf, posinf=np.inf)

    def beats(self, hopes: Floats, blends: Floats) -> Bools:
        """Whether known plans leave nothing to hope for: labels x objectives, labels x blends."""
        if not len(self._values):
            return np.zeros(len(hopes), dtype=bool)
        if hopes.shape[1] != 2:
            beaten: Bools = np.any(np.all(self._values[None] <= hopes[:, None], axis=2), axis=1)
            return beaten
        # The corners beyond a hope are those from one place on, by the first, up to one, by the second.
        first, second = self._corners
        start = np.searchsorted(first, hopes[:, 0], side="right")
        stop = len(second) - np.searchsorted(second[::-1], hopes[:, 1], side="right")
        beaten = np.ones(len(hopes), dtype=bool)
        rows = np.flatnonzero(stop > start)
        corners = np.arange(len(first))
        inside = (corners >= start[rows, None]) & (corners < stop[rows, None])
        row, corner = np.nonzero(inside)
        hopeful = (self._blends[:, corner] > blends[rows[row]].T).all(axis=0)
        beaten[rows[row[hopeful]]] = False
        return beaten
