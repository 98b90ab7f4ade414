"""The best schedule of a few tasks: a mixed-integer program. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize

from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Schedule, Situation, Tasks

MAX_TASKS = 8
"""Up to so many it takes 15 s at most, as seen; 11 took over a minute."""


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

    def solve(self) -> tuple[float, Floats | None]:
        """The least cost and the variables there; infinite where nothing meets all that is required."""
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
        return (math.inf, None) if found.x is None else (float(found.fun), found.x)


def best_schedule(tasks: Tasks, where: Situation, max_late: int) -> tuple[float, Schedule | None]:
    """What the best schedule emits under the intensities at the start, and the schedule; infinite: none is.

    Tasks are not interrupted, and a device does one at a time. A late request is in nobody's way: it can
    always be answered after all others, as can one without a deadline.
    """
    if not len(tasks):
        return 0.0, Schedule(np.empty(0, dtype=np.int64), np.empty(0))
    program, names, count = _Program(), list(where.fleet.by_name), len(tasks)
    takes_s = where.seconds[tasks.stage] * tasks.ratio[:, None]
    grams = (where.g_per_intensity * where.g_per_kwh[:, 0])[tasks.stage] * tasks.ratio[:, None]
    # In units of the longest task and of what most emits, since a solver's tolerances are absolute.
    holds = np.isfinite(takes_s)
    unit_s, unit_g = max(takes_s[holds].max(), 1e-12), max(grams[holds].max(), 1e-12)
    takes, grams = takes_s / unit_s, grams / unit_g
    release, due = tasks.release_s / unit_s, tasks.due_s / unit_s
    timed = np.isfinite(due)
    moves_s = [
        where.moving_s(int(k), sender, name)
        for k in np.unique(tasks.stage)
        for sender in where.senders(int(k))
        for name in names
    ]
    longest = max(moves_s, default=0.0) / unit_s
    # Later than anything in time.
    far = float(release.max() + due[timed].max(initial=0.0) + count * (2 + longest))

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
    cost, values = program.solve()
    if values is None:
        return math.inf, None
    device = np.array([max(own, key=lambda d: values[own[d]]) for own in runs])
    begin_s = values[begin] * unit_s
    after = ~timed | (values[late][tasks.request] > 0.5)
    return cost * unit_g, Schedule(device, _soonest_s(tasks, where, device, np.where(after, np.inf, begin_s)))


def _soonest_s(tasks: Tasks, where: Situation, device: Ints, begin_s: Floats) -> Floats:
    """When each task begins if all keep their device and order and none waits without need.

    The program may put off what has time. Who is infinitely late comes after all others.
    """
    names, soonest_s, end_s = list(where.fleet.by_name), np.zeros(len(tasks)), np.zeros(len(tasks))
    free_s = np.zeros(len(names))
    for t in np.lexsort((np.arange(len(tasks)), begin_s)):
        k, d = int(tasks.stage[t]), device[t]
        first = where.work[k].stage == 0
        sender = (where.fleet.source or names[d]) if first else names[device[t - 1]]
        ready_s = (tasks.release_s[t] if first else end_s[t - 1]) + where.moving_s(k, sender, names[d])
        last_s = end_s.max() if np.isinf(begin_s[t]) else 0.0
        soonest_s[t] = max(ready_s, free_s[d], last_s)
        end_s[t] = free_s[d] = soonest_s[t] + where.seconds[k, d] * tasks.ratio[t]
    return soonest_s
