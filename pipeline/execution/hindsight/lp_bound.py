"""No schedule of a run's tasks emits less: a linear program over slots of time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, sparse

from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Schedule, Situation, Tasks

SLOTS_PER_WINDOW = 4
"""Into which the bound divides the shortest window between a request and its deadline."""
MAX_COLUMNS = 1_000_000
"""Of the linear program; where more would be needed the slots are made longer, and the bound lower."""
MAX_CELLS = 20_000_000
"""Slots × stages × devices, likewise."""
BLOCK_COLUMNS = 30_000
"""Of one block of it: a solver takes longer than in proportion."""
BLOCK_WINDOWS = 20
"""Longest windows that a block spans at least: where blocks meet, both have the devices to themselves."""
GAP = 1e-3
"""Relative: how far the bound may stay below that of the best price of a late answer."""


@dataclass(frozen=True, eq=False)
class _Block:
    """A part of the linear program: the tasks released in one stretch of time.

    Columns are what of a group of tasks, in ratios, is done on a device in a slot; the last ones are what of
    each group is late, emits its least wherever and whenever, and is in nobody's way.
    """

    cost_g: Floats
    late: Floats
    """By column: requests that are late for each unit of it, at least."""
    demand: Any
    """(groups, columns), sparse."""
    demanded: Floats
    capacity: Any
    """(slots of devices, columns), sparse; in slots."""
    available: Floats
    row: Ints
    """By column: the group. Of `device` and `slot` the last columns, what is late, have none."""
    device: Ints
    slot: Ints
    tasks: Sequence[Ints]
    """By group, in order of arrival: indices of its tasks."""

    def solve(self, price_g: float) -> tuple[float, float]:
        """Least grams when each late request costs that much more, and how many are late then."""
        done = self.shares(price_g)
        return float((self.cost_g + price_g * self.late) @ done), float(self.late @ done)

    def shares(self, price_g: float) -> Floats:
        """By column: how much is done there at that price."""
        cost = self.cost_g + price_g * self.late
        unit = cost.mean() or 1.0  # a solver's tolerances are absolute
        found = optimize.linprog(
            cost / unit,
            A_ub=self.capacity,
            b_ub=self.available,
            A_eq=self.demand,
            b_eq=self.demanded,
            method="highs",
        )
        assert found.success, found.message  # all late is always a way
        return np.asarray(found.x)


def bound_g(tasks: Tasks, where: Situation, max_late: int) -> float:
    """No schedule of the tasks with at most max_late late requests emits less.

    Time is divided into slots. A task may be divided at will among devices and the slots that touch its
    window, each at the least intensity of the slot; no device does more in a slot than it is long. That is a
    linear program. The limit on late requests is priced (Lagrange), so that the program falls apart into
    blocks of time: any price's optimum, less price * max_late, is a bound, and that of the best price is the
    highest.
    """
    if not len(tasks):
        return 0.0
    program = _Program.of(tasks, where)
    free = np.isinf(tasks.due_s)
    stage, slot = tasks.stage[free], (tasks.release_s[free] / program.step_s).astype(np.int64)
    free_g = program.whenever_g[stage, slot] * tasks.ratio[free]
    free_g += where.least_moving_g.min(axis=1)[stage]
    return float(free_g.sum()) + _priced(program.blocks, max_late)


def slotted(tasks: Tasks, where: Situation) -> Schedule:
    """The bound's own schedule with as few late answers as it needs, each task undivided.

    Tasks of a group are dealt out in order of arrival to the slots in which the program does the group. One
    begins at once unless its slot is cleaner than those before it. Who is late has no device.
    """
    device = np.full(len(tasks), -1)
    begin_s = np.full(len(tasks), -math.inf)
    if not len(tasks):
        return Schedule(device, begin_s)
    program = _Program.of(tasks, where)
    slot = (tasks.release_s / program.step_s).astype(np.int64)
    free = np.flatnonzero(np.isinf(tasks.due_s))
    device[free], chosen = program.cleanest(tasks.stage[free], slot[free])
    cleaner = chosen > slot[free]
    begin_s[free[cleaner]] = chosen[cleaner] * program.step_s
    dear = max((float(block.cost_g.max() / block.late.max()) for block in program.blocks), default=0.0)
    for block in program.blocks:
        done = block.shares(1e3 * (dear or 1.0))
        inside = len(block.device)
        order = np.lexsort((block.slot, block.row[:inside]))
        ends = np.searchsorted(block.row[:inside][order], np.arange(len(block.tasks) + 1))
        for group, own in enumerate(block.tasks):
            cells = order[ends[group] : ends[group + 1]]
            middle = np.cumsum(tasks.ratio[own]) - tasks.ratio[own] / 2
            place = np.searchsorted(np.cumsum(done[cells]), middle)
            dealt, cell = own[place < len(cells)], cells[place[place < len(cells)]]
            device[dealt] = block.device[cell]
            k, d, when = tasks.stage[dealt], block.device[cell], block.slot[cell]
            cleaner = program.unit_g[k, d, when] < program.unit_g[k, d, slot[dealt]] * (1 - GAP)
            begin_s[dealt[cleaner]] = when[cleaner] * program.step_s
    return Schedule(device, begin_s)


@dataclass(frozen=True, eq=False)
class _Program:
    """The linear program of all tasks that have a deadline, in slots of time."""

    step_s: float
    """Length of a slot."""
    unit_g: Floats
    """Grams by stage, device and slot, for a task as slow as predicted; infinite where it is not held."""
    whenever_g: Floats
    """By stage and slot: on the best device from then on. For what is late, or has no deadline."""
    blocks: Sequence[_Block]

    @classmethod
    def of(cls, tasks: Tasks, where: Situation) -> _Program:
        step_s = _slot_s(tasks, where)
        end_s = max(tasks.due_s[np.isfinite(tasks.due_s)].max(initial=0.0), tasks.release_s.max())
        slots = int(end_s / step_s) + 2
        unit_g = where.g_per_intensity[:, :, None] * _least_by_slot(where, step_s, slots)
        unit_g[np.isnan(unit_g)] = math.inf  # inf * 0
        whenever_g = np.minimum.accumulate(unit_g.min(axis=1)[:, ::-1], axis=1)[:, ::-1]
        timed = np.isfinite(tasks.due_s).any()
        blocks = _blocks(tasks, where, step_s, unit_g, whenever_g) if timed else []
        return cls(step_s, unit_g, whenever_g, blocks)

    def cleanest(self, stage: Ints, slot: Ints) -> tuple[Ints, Ints]:
        """The best device from a slot on, and the first slot in which it is that."""
        least_g = self.unit_g.min(axis=1)
        best = np.full(least_g.shape, least_g.shape[1] - 1)
        for at in range(least_g.shape[1] - 2, -1, -1):
            best[:, at] = np.where(least_g[:, at] <= self.whenever_g[:, at + 1], at, best[:, at + 1])
        chosen = best[stage, slot]
        return self.unit_g[stage, :, chosen].argmin(axis=1), chosen


def _slot_s(tasks: Tasks, where: Situation) -> float:
    """Length of a slot: a part of the shortest window, or longer if that makes too many columns."""
    timed = np.isfinite(tasks.due_s)
    window_s = (tasks.due_s - tasks.release_s)[timed]
    devices = np.isfinite(where.seconds).sum(axis=1)[tasks.stage[timed]]
    step_s = max(float(window_s.min(initial=3600.0)), 1e-6) / SLOTS_PER_WINDOW
    while True:
        if step_s > 1:  # slots that end with the hour, where intensities step
            step_s = 3600 / math.ceil(3600 / step_s) if step_s < 3600 else 3600 * math.ceil(step_s / 3600)
        begin, end = _slots(tasks, timed, step_s)
        _, group = np.unique(np.stack([tasks.stage[timed], begin, end]), axis=1, return_index=True)
        slots = max(end.max(initial=0), tasks.release_s.max() / step_s) + 2
        cells = slots * where.seconds.size
        if ((end - begin) * devices)[group].sum() <= MAX_COLUMNS and cells <= MAX_CELLS:
            return step_s
        step_s *= 2


def _slots(tasks: Tasks, which: Any, step_s: float) -> tuple[Ints, Ints]:
    """First slot of each window, and the one after its last; never none."""
    begin = np.floor(tasks.release_s[which] / step_s).astype(np.int64)
    end = np.ceil(tasks.due_s[which] / step_s).astype(np.int64)
    return begin, np.maximum(end, begin + 1)


def _least_by_slot(where: Situation, step_s: float, slots: int) -> Floats:
    """(devices, slots): the least intensity that is in force at some time of a slot."""
    since_s = where.intensity.since_s
    least = where.g_per_kwh[:, since_s.searchsorted(np.arange(slots) * step_s, side="right") - 1]
    inside = (since_s / step_s).astype(np.int64)
    steps = np.flatnonzero(inside < slots)
    np.minimum.at(least.T, inside[steps], where.g_per_kwh.T[steps])
    return least


def _available(where: Situation, step_s: float, slots: int) -> Floats:
    """(devices, slots): the share of a slot for which a device is there."""
    edges = np.arange(slots + 1) * step_s
    there = np.ones((len(where.fleet.devices), slots))
    for outage in where.outages:
        gone = np.clip(edges, outage.at_s, outage.at_s + outage.duration_s)
        own = there[list(where.fleet.by_name).index(outage.device)]
        np.minimum(own, 1 - np.diff(gone) / step_s, out=own)
    return there


def _blocks(
    tasks: Tasks, where: Situation, step_s: float, unit_g: Floats, whenever_g: Floats
) -> list[_Block]:
    """The linear program of the tasks that have a deadline."""
    timed = np.isfinite(tasks.due_s)
    begin, end = _slots(tasks, timed, step_s)
    ratio, window_s = tasks.ratio[timed], (tasks.due_s - tasks.release_s)[timed]
    # Of one stage and between the same slots: one group. In order of their first slot.
    keys, group = np.unique(np.stack([begin, end, tasks.stage[timed]]), axis=1, return_inverse=True)
    group = group.ravel()
    begin, end, stage = keys
    by_group = np.argsort(group, kind="stable")
    members = np.split(np.flatnonzero(timed)[by_group], np.cumsum(np.bincount(group))[:-1])
    demanded: Floats = np.bincount(group, ratio).astype(float)
    most = np.zeros(len(begin))
    np.maximum.at(most, group, ratio)
    # A task that takes longer than its window on a device cannot be in time there.
    fits = np.zeros((len(begin), len(where.fleet.devices)), dtype=bool)
    np.logical_or.at(
        fits, group, where.seconds[tasks.stage[timed]] * ratio[:, None] <= window_s[:, None] * (1 + 1e-9)
    )
    moving_g = where.least_moving_g
    fits &= np.isfinite(moving_g[stage])
    late = 1 / (most * where.num_stages[stage])
    late_g = whenever_g[stage, begin] + moving_g.min(axis=1)[stage] / most

    columns = np.cumsum((end - begin) * fits.sum(axis=1) + 1)
    spans = int(end.max() - begin.min()) / (BLOCK_WINDOWS * int((end - begin).max()))
    count = max(1, math.ceil(min(columns[-1] / BLOCK_COLUMNS, spans)))
    block_of = (columns - 1) * count // columns[-1]
    available = _available(where, step_s, unit_g.shape[2])
    found = []
    for number in range(count):
        own = np.flatnonzero(block_of == number)
        if not len(own):
            continue
        row, device = fits[own].nonzero()
        width = (end - begin)[own][row]
        row, device = np.repeat(row, width), np.repeat(device, width)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(width) - width, width)
        slot, k = begin[own][row] + offset, stage[own][row]
        places, place = np.unique(device * unit_g.shape[2] + slot, return_inverse=True)
        num_columns, whole = len(row) + len(own), np.arange(len(row) + len(own))
        found.append(
            _Block(
                cost_g=np.concatenate(
                    [unit_g[k, device, slot] + moving_g[k, device] / most[own][row], late_g[own]]
                ),
                late=np.concatenate([np.zeros(len(row)), late[own]]),
                demand=sparse.csr_array(
                    (np.ones(num_columns), (np.concatenate([row, np.arange(len(own))]), whole)),
                    shape=(len(own), num_columns),
                ),
                demanded=demanded[own],
                capacity=sparse.csr_array(
                    (where.seconds[k, device] / step_s, (place.ravel(), whole[: len(row)])),
                    shape=(len(places), num_columns),
                ),
                available=available.ravel()[places],
                row=row,
                device=device,
                slot=slot,
                tasks=[members[k] for k in own],
            )
        )
    return found


def _priced(blocks: Sequence[_Block], max_late: int) -> float:
    """The highest bound over all prices of a late request, to GAP: tangents of a concave function meet."""

    def at(price_g: float) -> tuple[float, float, float]:
        solved = [block.solve(price_g) for block in blocks]
        slope = sum(num for _, num in solved) - max_late
        return price_g, sum(grams for grams, _ in solved) - price_g * max_late, slope

    if not blocks:
        return 0.0
    low = at(0.0)
    high = low
    price_g = max(float(block.cost_g.max() / block.late.max()) for block in blocks)
    while high[2] > 0 and high[0] < 1e3 * price_g:
        low, high = high, at(max(price_g, 4 * high[0]))
    best = max(low[1], high[1])
    while low[2] > 0 > high[2]:
        meet = (high[1] - high[2] * high[0] - low[1] + low[2] * low[0]) / (low[2] - high[2])
        if low[1] + low[2] * (meet - low[0]) <= best * (1 + GAP):
            break
        found = at(meet)
        best = max(best, found[1])
        low, high = (found, high) if found[2] > 0 else (low, found)
    return best
