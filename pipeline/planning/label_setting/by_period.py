"""The front of the period and a sum where each device holds one stage: the least sum under limits. Pure.

Under a limit on the period a stage either is short enough or is not, so a label needs no seconds: the plan of
the least sum is a shortest path over (cut, device). Lower and lower limits give the whole front (the
ε-constraint method: Haimes, Lasdon and Wismer, IEEE Trans. SMC 1, 1971). A device must not return; labels
remember only the devices that did in a shortest path before (decremental state space relaxation: Righini and
Salani, Networks 51, 2008). So neither the sets of devices nor the seconds multiply the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import moocore
import numpy as np

from pipeline.planning.cost import Floats, Ints
from pipeline.planning.fastest_pipeline import MAX_DEVICES, fastest_pipeline
from pipeline.planning.label_setting.labels import Trail, require_few
from pipeline.planning.label_setting.levels import sets_fit
from pipeline.planning.label_setting.plan_arrays import NO_PLANS, Plans, joined
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import Bools

NO_LIMIT = float(np.finfo(float).max)
"""Seconds that every possible step is below; impossible ones take infinitely long."""
SLACK = 0.02
"""Share above the lower bound up to which a search looks first; it doubles until there is a plan."""
WIDEST = 8.0
"""Share beyond which a search looks at everything."""


def searches_by_period(prices: Prices) -> bool:
    """Whether this search takes a problem: one sum at most, and more sets of devices than tables can hold."""
    return (
        prices.rules.distinct
        and "period_s" in prices.objectives
        and len(prices.sums) == 1
        and prices.num_devices <= MAX_DEVICES
        and not sets_fit(prices, len(prices.sums))
    )


def plans_by_period(prices: Prices) -> Plans:
    """Plans that contain the front of the period and the only sum, or the fastest where there is no sum.

    Raises ConfigError if a search needs too many labels.
    """
    rules = prices.rules
    bounds, where = fastest_pipeline(prices.tables, memory=rules.memory, max_stages=rules.max_stages)
    if not where:
        return NO_PLANS
    fastest = np.array([bounds]), np.array([where])
    if prices.objectives == ("period_s",):
        return fastest
    search, found = LeastSum(prices), [fastest]
    # No plan is faster, so no search has to prove that there is none.
    least_s, limit_s, least = search.period_s(*map(np.array, (bounds, where))), NO_LIMIT, -np.inf
    while limit_s >= least_s and (best := search.under(limit_s, least)) is not None:
        found.append(best.plan)
        limit_s, least = float(np.nextafter(best.period_s, 0)), best.total
    return joined(*found)


@dataclass(frozen=True, eq=False)
class Best:
    """A plan of the least sum under a limit, that sum and the plan's period."""

    plan: Plans
    total: float
    period_s: float


@dataclass(frozen=True, eq=False)
class _Rest:
    """What is possible under a limit on the period, and the least rest of a sum if devices may return.

    stage, move, first: whether a stage (D, L + 1, L + 1) and a transfer is short enough, and what the
    transfer (L + 1, from, to) and the start (D,) cost; infinite where they are not.
    onward, opened: (L + 1, D), the least rest if a stage ends or begins at a cut.
    """

    stage: Bools
    move: Floats
    first: Floats
    onward: Floats
    opened: Floats


class LeastSum:
    """The search for the plan of the least sum under a limit on the period."""

    def __init__(self, prices: Prices) -> None:
        n = prices.num_layers
        self._prices = prices
        self._spent = np.zeros((prices.num_devices, n + 1))
        self._spent[:, 1:] = np.cumsum(prices.layer_cost[:, :, 0], axis=1)
        begin, end = np.arange(n + 1)[:, None], np.arange(n + 1)
        possible = (end > begin) & (end <= prices.fits[:, :, None])
        self._stage_s = np.where(possible, prices.tables.times.all_stages(codecs=True), np.inf)
        self._sending_s = np.where(prices.connected, prices.sending_s, np.inf)
        self._first_s = np.where(prices.startable, prices.fetching_s, np.inf)
        self._watched = np.zeros(prices.num_devices, dtype=bool)
        """The devices that labels remember."""
        self._scale = float(self._spent.mean() or prices.tables.sent_bytes.mean() or 1.0)

    def under(self, limit_s: float, least: float = -np.inf) -> Best | None:
        """The plan of the least sum with a period of at most a limit; None: there is none.

        least: a lower bound of that sum. Raises ConfigError if too many labels remain at one cut.
        """
        rest = self._rest(limit_s)
        least = max(least, float((rest.first + rest.opened[0]).min()))
        slack = SLACK * (abs(least) or self._scale)
        widest = slack * WIDEST / SLACK
        while np.isfinite(least):
            most = least + slack if slack < widest else np.inf
            nodes, totals, trail = self._search(rest, most)
            if len(nodes):
                row = totals.argmin()
                bounds, where = trail.plans(nodes[[row]], self._prices.num_layers)
                uses = np.bincount(where[0], minlength=len(self._watched))
                if uses.max() == 1:
                    return Best((bounds, where), float(totals[row]), self.period_s(bounds[0], where[0]))
                self._watched |= uses > 1
                least = max(least, float(totals[row]))
            elif most == np.inf:
                break
            else:
                least, slack = most, 2 * slack
        return None

    def period_s(self, bounds: Ints, where: Ints) -> float:
        """The largest of the times with which a plan's steps are compared with a limit."""
        busy_s = self._stage_s[where, bounds[:-1], bounds[1:]]
        sending_s = self._sending_s[bounds[1:-1], where[:-1], where[1:]]
        return float(max(busy_s.max(), sending_s.max(initial=0.0), self._first_s[where[0]]))

    def _rest(self, limit_s: float) -> _Rest:
        """Search backwards from the last cut under a limit."""
        prices, n = self._prices, self._prices.num_layers
        stage = self._stage_s <= limit_s
        move = np.where(self._sending_s <= limit_s, prices.move_cost[:, :, :, 0], np.inf)
        first = np.where(self._first_s <= limit_s, prices.start_cost[:, 0], np.inf)
        onward, opened = np.zeros((2, n + 1, prices.num_devices))
        for k in range(n - 1, -1, -1):
            total = np.where(stage[:, k, k + 1 :], self._spent[:, k + 1 :] + onward[k + 1 :].T, np.inf)
            opened[k] = total.min(axis=1) - self._spent[:, k]
            onward[k] = (move[k] + opened[k]).min(axis=1)
        return _Rest(stage, move, first, onward, opened)

    def _search(self, rest: _Rest, most: float) -> tuple[Ints, Floats, Trail]:
        """The last stages, in a trail, of plans whose sums are below `most`, the least among them, and sums.

        A label's figures are its sum so far, its number of stages where that is limited, and a flag for each
        watched device that it holds. Labels that end a stage at a cut wait there until their cut's turn.
        """
        prices, n, trail = self._prices, self._prices.num_layers, Trail()
        most_stages = prices.rules.max_stages or n
        column = np.where(self._watched, 1 + np.cumsum(self._watched), 0)
        waiting: list[list[tuple[Ints, Floats, Ints]]] = [[] for _ in range(n + 1)]

        def open_stages(k: int, device: Ints, figures: Floats, parent: Ints) -> None:
            """Open a stage at a cut for each label, and close it at each later one."""
            figures[:, 1] += 1
            rows = np.flatnonzero(column[device])
            figures[rows, column[device[rows]]] = 1.0
            total = figures[:, :1] + self._spent[device, k + 1 :] - self._spent[device, k, None]
            hopeful = rest.stage[device, k, k + 1 :] & (total + rest.onward[k + 1 :].T[device] < most)
            node = trail.open(k, device, parent)
            for end in np.flatnonzero(hopeful.any(axis=0)):
                rows = np.flatnonzero(hopeful[:, end])
                closed = figures[rows]
                closed[:, 0] = total[rows, end]
                waiting[k + 1 + end].append((device[rows], closed, node[rows]))

        device = np.flatnonzero(rest.first + rest.opened[0] < most)
        figures = np.zeros((len(device), 2 + int(self._watched.sum())))
        figures[:, 0] = rest.first[device]
        open_stages(0, device, figures, np.full(len(device), -1))
        for k in range(1, n):
            if not waiting[k]:
                continue
            device, figures, node = self._kept(waiting[k], k)
            waiting[k] = []
            total = figures[:, :1] + rest.move[k, device]
            hopeful = (total + rest.opened[k] < most) & (figures[:, 1:2] < most_stages)
            hopeful[:, self._watched] &= figures[:, 2:] == 0
            row, to = np.nonzero(hopeful)
            figures = figures[row]
            figures[:, 0] = total[row, to]
            open_stages(k, to, figures, node[row])
        if not waiting[n]:
            return np.zeros(0, dtype=np.int64), np.zeros(0), trail
        _, figures, node = self._kept(waiting[n], n)
        return node, figures[:, 0], trail

    def _kept(self, waiting: list[tuple[Ints, Floats, Ints]], k: int) -> tuple[Ints, Floats, Ints]:
        """The labels at a cut that no other on the same device equals or beats in all figures."""
        device, figures, node = (np.concatenate(column) for column in zip(*waiting, strict=True))
        # Without a limit on the stages their number makes no label better.
        columns = np.arange(figures.shape[1]) != (1 if self._prices.rules.max_stages is None else -1)
        compared = figures[:, columns]
        rows = np.concatenate(
            [
                own[moocore.is_nondominated(compared[own], keep_weakly=False)]
                for own in (np.flatnonzero(device == d) for d in np.unique(device))
            ]
        )
        require_few(len(rows), k, self._prices.rules)
        return device[rows], figures[rows], node[rows]
