"""The least carbon at which a run's requests could have been answered, had all been known beforehand. Pure.

Each task takes on any device what it took in the run, scaled to that device's profile. As many requests may
be late as were late in the run: a schedule that is allowed to answer nobody in time emits what it likes.
What counts is what tasks add: the energy of computing above idle, and of moving tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, sparse

from pipeline.deployment import Work, deploy
from pipeline.domain import Fleet, Job, Outage, Records
from pipeline.grid import Intensity
from pipeline.ledger import carbon_g
from pipeline.metrics import request_latency_s

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_EXACT_TASKS = 8
"""Up to so many the best schedule itself is found, in 15 s at most as seen; 11 took over a minute."""
SLOTS_PER_WINDOW = 4
"""Into which the bound divides the shortest window between a request and its deadline."""
MAX_COLUMNS = 1_000_000
"""Of the linear program; where more would be needed the slots are made longer, and the bound lower."""
BLOCK_COLUMNS = 30_000
"""Of one block of it: a solver takes longer than in proportion."""
BLOCK_WINDOWS = 20
"""Longest windows that a block spans at least: where blocks meet, both have the devices to themselves."""
GAP = 1e-3
"""Relative: how far the bound may stay below that of the best price of a late answer."""


@dataclass(frozen=True)
class Hindsight:
    """The oracle's answer."""

    carbon_g: float
    """Of all requests that the run answered."""
    exact: bool
    """Whether a schedule is known that reaches it; else none is better."""


@dataclass(frozen=True, eq=False)
class Tasks:
    """The tasks of the requests that a run answered, one entry each, in order of request and stage."""

    request: Ints
    """Numbered from 0 without gaps."""
    stage: Ints
    """Of all stages of all services (`deployment.deploy`)."""
    ratio: Floats
    """What it took ÷ what is predicted for the device that ran it."""
    release_s: Floats
    """Before which it cannot have begun: arrival, and the stages before it at their quickest."""
    due_s: Floats
    """By which it must be done if the request is to be in time; infinite without a deadline."""

    def __len__(self) -> int:
        return len(self.request)


def hindsight(job: Job, records: Records) -> Hindsight:
    """The least carbon for a run's answered requests, with at most as many late ones as it had.

    Exact for at most MAX_EXACT_TASKS tasks where neither intensities nor devices change, links taken to be
    free; else a bound from below.
    """
    situation = Situation(deploy(job.services), job.fleet, job.intensity, job.outages)
    tasks = tasks_of(job, situation.work, records)
    if len(tasks) <= MAX_EXACT_TASKS and len(job.intensity.since_s) == 1 and not job.outages:
        best_g = exact_g(tasks, situation, num_late(records))
        if math.isfinite(best_g):  # else links were quicker than their figures say
            return Hindsight(best_g, exact=True)
    return Hindsight(bound_g(tasks, situation, num_late(records)), exact=False)


def regret(job: Job, records: Records, ledger: pd.DataFrame) -> float | None:
    """Carbon of the run's tasks ÷ the oracle's, less 1; None where nothing was answered or emits nothing."""
    spent_g = ledger.loc[ledger["component"].isin(("dynamic", "network")), "carbon_g"].sum()
    least_g = hindsight(job, records).carbon_g
    return float(spent_g) / least_g - 1 if least_g > 0 else None


def num_late(records: Records) -> int:
    """How many requests were answered after their deadline."""
    latency_s = request_latency_s(records)
    deadline_s = records.table.groupby("request")["deadline_s"].first()
    return int((latency_s > deadline_s.reindex(latency_s.index)).sum())


def tasks_of(job: Job, work: Sequence[Work], records: Records) -> Tasks:
    """What the run's answered requests asked for; of a stage that was run several times, the last."""
    table = records.table
    failed = table.loc[table["status"] == "failed", "request"].unique()
    arrival_s = table.groupby("request")["queued_s"].min()
    rows = table[(table["kind"] == "compute") & (table["status"] == "ok") & ~table["request"].isin(failed)]
    rows = rows.sort_values("end_s").drop_duplicates(["request", "stage"], keep="last")
    rows = rows.sort_values(["request", "stage"])
    models = [service.problem.graph.name for service in job.services]
    places = {(models[w.service], w.stage): k for k, w in enumerate(work)}
    stage = np.array([places[key] for key in zip(rows["model"], rows["stage"], strict=True)], dtype=np.int64)
    took_s = (rows["end_s"] - rows["start_s"]).to_numpy(dtype=float)
    predicted_s = [work[k].seconds[name] for k, name in zip(stage, rows["device"].astype(str), strict=True)]
    ratio = took_s / np.maximum(predicted_s, 1e-12)
    least_s = np.array([min(w.seconds.values()) for w in work])[stage] * ratio
    number = np.unique(rows["request"], return_inverse=True)[1].astype(np.int64)
    per_request = np.bincount(number, least_s)[number] if len(number) else least_s
    before_s = np.cumsum(least_s) - least_s
    before_s -= before_s[np.searchsorted(number, number)]
    arrived_s = arrival_s.loc[rows["request"]].to_numpy(dtype=float)
    due_s = arrived_s + rows["deadline_s"].to_numpy(dtype=float) - (per_request - before_s - least_s)
    return Tasks(number, stage, ratio, arrived_s + before_s, due_s)


@dataclass(frozen=True, eq=False)
class Situation:
    """Where and when the tasks may run, and what they emit there. Arrays are by stage and device."""

    work: Sequence[Work]
    fleet: Fleet
    intensity: Intensity
    outages: Sequence[Outage] = ()

    @cached_property
    def seconds(self) -> Floats:
        """What each stage is predicted to take on each device; infinite where it is not held."""
        return np.array([[w.seconds.get(name, math.inf) for name in self.fleet.by_name] for w in self.work])

    @cached_property
    def g_per_kwh(self) -> Floats:
        """(devices, steps): intensity in the fleet's order."""
        return self.intensity.g_per_kwh[[self.intensity.names.index(name) for name in self.fleet.by_name]]

    @cached_property
    def g_per_intensity(self) -> Floats:
        """Grams of each stage on each device, per g/kWh there."""
        active_w = np.array([device.active_w - device.idle_w for device in self.fleet.devices])
        pue = np.array([device.pue for device in self.fleet.devices])
        return np.asarray(carbon_g(self.seconds * active_w, 1.0, pue))

    @cached_property
    def num_stages(self) -> Ints:
        """Of the plan that each stage belongs to."""
        services = [w.service for w in self.work]
        return np.array([services.count(service) for service in services])

    def senders(self, k: int) -> Sequence[str]:
        """Where a stage's input may lie; nobody where it is wherever the stage runs."""
        if self.work[k].stage > 0:
            return tuple(self.work[k - 1].seconds)
        return () if self.fleet.source is None else (self.fleet.source,)

    def moving_g(self, k: int, sender: str, receiver: str) -> float:
        """Least grams of moving a stage's input; infinite between devices that are not connected."""
        if sender == receiver:
            return 0.0
        link = self.fleet.link(sender, receiver)
        if link is None:
            return math.inf
        half_j = 0.5 * self.work[k].input_bytes * (link.energy_j_per_byte or 0.0)
        least = dict(zip(self.fleet.by_name, self.g_per_kwh.min(axis=1).tolist(), strict=True))
        ends = (sender, receiver)
        return math.fsum(carbon_g(half_j, least[end], self.fleet.by_name[end].pue) for end in ends)

    def moving_s(self, k: int, sender: str, receiver: str) -> float:
        """Seconds of that, over a free link."""
        link = None if sender == receiver else self.fleet.link(sender, receiver)
        return 0.0 if link is None else link.transfer_s(self.work[k].input_bytes)

    @cached_property
    def least_moving_g(self) -> Floats:
        """Grams of bringing each stage's input to each device, from wherever that is least."""
        return np.array(
            [
                [
                    min((self.moving_g(k, sender, name) for sender in self.senders(k)), default=0.0)
                    for name in self.fleet.by_name
                ]
                for k in range(len(self.work))
            ]
        )


# --- a bound for any run --------------------------------------------------------------------------


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

    def solve(self, price_g: float) -> tuple[float, float]:
        """Least grams when each late request costs that much more, and how many are late then."""
        cost = self.cost_g + price_g * self.late
        unit = cost.mean()  # a solver's tolerances are absolute
        found = optimize.linprog(
            cost / unit,
            A_ub=self.capacity,
            b_ub=self.available,
            A_eq=self.demand,
            b_eq=self.demanded,
            method="highs",
        )
        assert found.success, found.message  # all late is always a way
        return float(found.fun * unit), float(self.late @ found.x)


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
    step_s = _slot_s(tasks, where)
    end_s = max(tasks.due_s[np.isfinite(tasks.due_s)].max(initial=0.0), tasks.release_s.max())
    slots = int(end_s / step_s) + 2
    unit_g = where.g_per_intensity[:, :, None] * _least_by_slot(where, step_s, slots)
    unit_g[np.isnan(unit_g)] = math.inf  # inf * 0
    # On the best device from a slot on: what a task emits that is late, or has no deadline.
    whenever_g = np.minimum.accumulate(unit_g.min(axis=1)[:, ::-1], axis=1)[:, ::-1]
    free = np.isinf(tasks.due_s)
    stage, slot = tasks.stage[free], (tasks.release_s[free] / step_s).astype(np.int64)
    free_g = whenever_g[stage, slot] * tasks.ratio[free] + where.least_moving_g.min(axis=1)[stage]
    blocks = _blocks(tasks, where, step_s, unit_g, whenever_g) if not free.all() else []
    return float(free_g.sum()) + _priced(blocks, max_late)


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
        if ((end - begin) * devices)[group].sum() <= MAX_COLUMNS:
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
        gone = np.clip(edges, outage.at_s, outage.at_s + outage.for_s)
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


# --- the best schedule of a few -------------------------------------------------------------------


class _Program:
    """A mixed-integer program that is put together term by term."""

    def __init__(self) -> None:
        self._cost: list[float] = []
        self._most: list[float] = []
        self._whole: list[bool] = []
        self._rows: list[Mapping[int, float]] = []
        self._least_of_rows: list[float] = []

    def variable(self, cost: float = 0.0, most: float = math.inf, *, whole: bool = False) -> int:
        """A variable from 0 to `most`."""
        self._cost.append(cost)
        self._most.append(most)
        self._whole.append(whole)
        return len(self._cost) - 1

    def require(self, terms: Sequence[tuple[int, float]], least: float) -> None:
        """The sum of factor * variable must be at least that."""
        row: dict[int, float] = {}
        for variable, factor in terms:
            row[variable] = row.get(variable, 0.0) + factor
        self._rows.append(row)
        self._least_of_rows.append(least)

    def solve(self) -> float:
        """The least cost; infinite where nothing meets all that is required."""
        matrix = np.zeros((len(self._rows), len(self._cost)))
        for k, row in enumerate(self._rows):
            matrix[k, list(row)] = list(row.values())
        found = optimize.milp(
            np.array(self._cost),
            integrality=np.array(self._whole, dtype=int),
            bounds=optimize.Bounds(0, np.array(self._most)),
            constraints=optimize.LinearConstraint(matrix, np.array(self._least_of_rows), np.inf),
            options={"mip_rel_gap": 1e-9},
        )
        return math.inf if found.x is None else float(found.fun)


def exact_g(tasks: Tasks, where: Situation, max_late: int) -> float:
    """What the best schedule emits under the intensities at the start: a mixed-integer program.

    Tasks are not interrupted, and a device does one at a time. A late request is in nobody's way: it can
    always be answered after all others.
    """
    if not len(tasks):
        return 0.0
    program, names, count = _Program(), list(where.fleet.by_name), len(tasks)
    takes_s = where.seconds[tasks.stage] * tasks.ratio[:, None]
    grams = (where.g_per_intensity * where.g_per_kwh[:, 0])[tasks.stage] * tasks.ratio[:, None]
    # In units of the longest task and of what most emits, since a solver's tolerances are absolute.
    holds = np.isfinite(takes_s)
    unit_s, unit_g = max(takes_s[holds].max(), 1e-12), max(grams[holds].max(), 1e-12)
    takes, grams = takes_s / unit_s, grams / unit_g
    release, due = tasks.release_s / unit_s, tasks.due_s / unit_s
    timed = np.isfinite(due)
    far = float(release.max() + due[timed].max(initial=0.0) + 2 * count)  # later than anything in time

    late = [program.variable(most=1, whole=True) for _ in range(int(tasks.request.max()) + 1)]
    program.require([(late[r], -1) for r in np.unique(tasks.request[timed])], -max_late)
    begin = [program.variable(most=far) for _ in range(count)]
    runs: list[dict[int, int]] = [  # by task and device that holds it: whether it runs there
        {int(d): program.variable(float(grams[t, d]), 1, whole=True) for d in np.flatnonzero(holds[t])}
        for t in range(count)
    ]
    for t, (k, request) in enumerate(zip(tasks.stage.tolist(), tasks.request.tolist(), strict=True)):
        program.require([(x, 1) for x in runs[t].values()], 1)
        if timed[t]:
            took = [(x, -takes[t, d]) for d, x in runs[t].items()]
            program.require([(begin[t], -1), *took, (late[request], far)], -due[t])
        moved, moving = program.variable(1.0), program.variable()
        starts, before = where.work[k].stage == 0, runs[t - 1]
        for sender in where.senders(k):
            sent = [] if starts else [before[names.index(sender)]]
            for d, x in runs[t].items():
                way, least = [x, *sent], len(sent)  # all of them 1: the input goes this way
                carbon = where.moving_g(k, sender, names[d]) / unit_g
                if math.isinf(carbon):
                    program.require([(v, -1) for v in way], -least)
                    continue
                time = where.moving_s(k, sender, names[d]) / unit_s
                program.require([(moved, 1), *((v, -carbon) for v in way)], -carbon * least)
                program.require([(moving, 1), *((v, -time) for v in way)], -time * least)
        ready = [] if starts else [(begin[t - 1], -1), *((x, -takes[t - 1, d]) for d, x in before.items())]
        after = release[t] if starts else 0.0
        program.require([(begin[t], 1), (moving, -1), *ready, (late[request], 2 * far)], after)
    for t, u in itertools.combinations(range(count), 2):
        same, apart = tasks.request[t] == tasks.request[u], min(due[t], due[u]) <= max(release[t], release[u])
        if same or apart or not (timed[t] and timed[u]):
            continue
        t_first = program.variable(most=1, whole=True)
        lax: list[tuple[int, float]] = [(late[tasks.request[t]], 2 * far), (late[tasks.request[u]], 2 * far)]
        for d in runs[t].keys() & runs[u].keys():
            both = [(runs[t][d], -2 * far), (runs[u][d], -2 * far), *lax]
            program.require(
                [(begin[u], 1), (begin[t], -1), (t_first, -2 * far), *both], takes[t, d] - 6 * far
            )
            program.require([(begin[t], 1), (begin[u], -1), (t_first, 2 * far), *both], takes[u, d] - 4 * far)
    return float(program.solve() * unit_g)
