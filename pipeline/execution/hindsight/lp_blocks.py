"""The linear program of tasks with deadlines, in blocks of time that are solved one by one. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import optimize, sparse

from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Situation, Tasks
from pipeline.execution.hindsight.time_slots import available_share, window_slots

BLOCK_COLUMNS = 30_000
"""Most columns of a block: the solver's time grows faster than their number."""
BLOCK_WINDOWS = 20
"""Least length of a block, in longest windows: where two blocks overlap, each may use all devices in full."""


@dataclass(frozen=True, eq=False)
class Block:
    """The linear program of the tasks that are released in one period.

    A column is the amount, in `Tasks.ratio`, of a group's tasks that runs on a device in a slot. The last
    columns, one a group, are the amounts that are late: they emit the group's least and occupy no device.
    """

    cost_g: Floats
    """(columns,): grams per unit of the amount."""
    late: Floats
    """(columns,): least number of late requests per unit."""
    demand: Any
    """(groups, columns), sparse: 1 where a column belongs to a group."""
    demanded: Floats
    """(groups,): total amount."""
    capacity: Any
    """(slots of devices, columns), sparse: slots of time per unit."""
    available: Floats
    """(slots of devices,): share of the slot in which the device is up."""
    row: Ints
    """(columns without the late ones,): index of the group; `device` and `slot` have the same shape."""
    device: Ints
    slot: Ints
    tasks: Sequence[Ints]
    """Indices of each group's tasks, in order of arrival."""

    def solve(self, price_g: float) -> tuple[float, float]:
        """Least grams if each late request costs price_g more, and its number of late requests.

        The grams are a lower bound however imprecise the solver is: any prices of demand and capacity give
        one (weak duality), where a column of negative reduced cost counts with all that its group demands.
        """
        found, unit = self._solved(price_g)
        wanted, slots = found.eqlin.marginals, np.minimum(found.ineqlin.marginals, 0)
        cost = (self.cost_g + price_g * self.late) / unit
        reduced = cost - self.demand.T @ wanted - self.capacity.T @ slots
        short = np.minimum(reduced, 0) @ (self.demand.T @ self.demanded)
        grams = unit * (wanted @ self.demanded + slots @ self.available + short)
        return float(grams), float(self.late @ found.x)

    def shares(self, price_g: float) -> Floats:
        """(columns,): the amounts of the best solution at that price."""
        return np.asarray(self._solved(price_g)[0].x)

    def _solved(self, price_g: float) -> tuple[Any, float]:
        """The solver's result, and the unit of its costs in grams."""
        cost = self.cost_g + price_g * self.late
        unit = float(cost.mean()) or 1.0  # a solver's tolerances are absolute
        found = optimize.linprog(
            cost / unit,
            A_ub=self.capacity,
            b_ub=self.available,
            A_eq=self.demand,
            b_eq=self.demanded,
            method="highs",
        )
        assert found.success, found.message  # all tasks late is always a solution
        return found, unit


def blocks_of(
    tasks: Tasks, where: Situation, step_s: float, unit_g: Floats, whenever_g: Floats
) -> list[Block]:
    """The linear program of the tasks with deadlines; unit_g, whenever_g: see `LinearProgram`."""
    groups = _Groups.of(tasks, where, step_s, whenever_g)
    columns = np.cumsum(groups.width * groups.fits.sum(axis=1) + 1)
    spans = int(groups.end.max() - groups.begin.min()) / (BLOCK_WINDOWS * int(groups.width.max()))
    count = max(1, math.ceil(min(columns[-1] / BLOCK_COLUMNS, spans)))
    block_of = (columns - 1) * count // columns[-1]
    available = available_share(where, step_s, unit_g.shape[2])
    members = (np.flatnonzero(block_of == number) for number in range(count))
    return [_block(groups, own, where, step_s, unit_g, available) for own in members if len(own)]


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups of tasks of one stage whose windows overlap the same slots, by first slot. Arrays: (groups,)."""

    begin: Ints
    """First slot."""
    end: Ints
    """The slot after the last one."""
    stage: Ints
    tasks: Sequence[Ints]
    """Indices of the group's tasks, in order of arrival."""
    demanded: Floats
    """Sum of the tasks' ratios."""
    most: Floats
    """The largest of the tasks' ratios."""
    fits: Any
    """(groups, devices): whether a device can run one of the tasks in time."""
    late: Floats
    """Least number of late requests per unit that is late."""
    late_g: Floats
    """Grams per unit that is late."""

    @property
    def width(self) -> Ints:
        """Number of slots."""
        return self.end - self.begin

    @classmethod
    def of(cls, tasks: Tasks, where: Situation, step_s: float, whenever_g: Floats) -> Self:
        timed = np.isfinite(tasks.due_s)
        begin, end = window_slots(tasks, timed, step_s)
        ratio, window_s = tasks.ratio[timed], tasks.window_s[timed]
        keys, group = np.unique(np.stack([begin, end, tasks.stage[timed]]), axis=1, return_inverse=True)
        group = group.ravel()
        begin, end, stage = keys
        by_group = np.argsort(group, kind="stable")
        members = np.split(np.flatnonzero(timed)[by_group], np.cumsum(np.bincount(group))[:-1])
        most = np.zeros(len(begin))
        np.maximum.at(most, group, ratio)
        # A task that takes longer than its window on a device cannot be in time there.
        fits = np.zeros((len(begin), len(where.fleet.devices)), dtype=bool)
        in_time = where.seconds[tasks.stage[timed]] * ratio[:, None] <= window_s[:, None] * (1 + 1e-9)
        np.logical_or.at(fits, group, in_time)
        moving_g = where.least_moving_g
        return cls(
            begin=begin,
            end=end,
            stage=stage,
            tasks=members,
            demanded=np.bincount(group, ratio).astype(float),
            most=most,
            fits=fits & np.isfinite(moving_g[stage]),
            late=1 / (most * where.num_stages[stage]),
            late_g=whenever_g[stage, begin] + moving_g.min(axis=1)[stage] / most,
        )


def _block(
    groups: _Groups, own: Ints, where: Situation, step_s: float, unit_g: Floats, available: Floats
) -> Block:
    """The block of some groups; own: their indices."""
    row, device = groups.fits[own].nonzero()
    width = groups.width[own][row]
    row, device = np.repeat(row, width), np.repeat(device, width)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(width) - width, width)
    slot, k = groups.begin[own][row] + offset, groups.stage[own][row]
    places, place = np.unique(device * unit_g.shape[2] + slot, return_inverse=True)
    num_columns, whole = len(row) + len(own), np.arange(len(row) + len(own))
    in_time_g = unit_g[k, device, slot] + where.least_moving_g[k, device] / groups.most[own][row]
    return Block(
        cost_g=np.concatenate([in_time_g, groups.late_g[own]]),
        late=np.concatenate([np.zeros(len(row)), groups.late[own]]),
        demand=sparse.csr_array(
            (np.ones(num_columns), (np.concatenate([row, np.arange(len(own))]), whole)),
            shape=(len(own), num_columns),
        ),
        demanded=groups.demanded[own],
        capacity=sparse.csr_array(
            (where.seconds[k, device] / step_s, (place.ravel(), whole[: len(row)])),
            shape=(len(places), num_columns),
        ),
        available=available.ravel()[places],
        row=row,
        device=device,
        slot=slot,
        tasks=[groups.tasks[k] for k in own],
    )
