"""The best schedule of a few tasks, by mixed-integer programming. Pure."""

from __future__ import annotations

import itertools
import math

import numpy as np

from pipeline.execution.hindsight.mixed_integer_program import MixedIntegerProgram
from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Schedule, Situation, Tasks

MAX_TASKS = 8
"""Most tasks for which this method is used: 8 took up to 15 s, 11 over a minute."""


def best_schedule(tasks: Tasks, where: Situation, max_late: int) -> tuple[float, Schedule | None]:
    """The least grams under the intensities at the start, and the schedule; infinite and None if none exists.

    Tasks are not interrupted, and a device runs one at a time. A late request delays no other: it can be
    answered after all others, and so can one without a deadline.
    """
    if not len(tasks):
        return 0.0, Schedule(np.empty(0, dtype=np.int64), np.empty(0))
    return _BestSchedule(tasks, where, max_late).solve()


class _BestSchedule:
    """The program, whose variables are each task's device and begin and whether each request is late.

    Times are in units of the longest task and grams of the largest emission, since a solver's tolerances are
    absolute.
    """

    def __init__(self, tasks: Tasks, where: Situation, max_late: int) -> None:
        self._tasks = tasks
        self._where = where
        takes_s = where.seconds[tasks.stage] * tasks.ratio[:, None]
        grams = (where.g_per_intensity * where.g_per_kwh[:, 0])[tasks.stage] * tasks.ratio[:, None]
        holds = np.isfinite(takes_s)
        self._unit_s, self._unit_g = max(takes_s[holds].max(), 1e-12), max(grams[holds].max(), 1e-12)
        self._takes, grams = takes_s / self._unit_s, grams / self._unit_g
        self._release, self._due = tasks.release_s / self._unit_s, tasks.due_s / self._unit_s
        self._timed = np.isfinite(self._due)
        self._names, count = list(where.fleet.by_name), len(tasks)
        self._far = self._longer_than_any_schedule()
        program = self._program = MixedIntegerProgram()
        self._late = [program.variable(most=1, whole=True) for _ in range(int(tasks.request.max()) + 1)]
        """Variable by request: whether it is late."""
        program.require([(self._late[r], -1) for r in np.unique(tasks.request[self._timed])], -max_late)
        self._begin = [program.variable(most=self._far) for _ in range(count)]
        """Variable by task: the time at which it begins."""
        self._runs: list[dict[int, int]] = [
            {int(d): program.variable(float(grams[t, d]), 1, whole=True) for d in np.flatnonzero(holds[t])}
            for t in range(count)
        ]
        """Variable by task and device that holds its stage: whether it runs there."""
        for t in range(count):
            self._require_one_device_in_time(t)
            self._require_input(t)
        for t, u in itertools.combinations(range(count), 2):
            self._require_one_at_a_time(t, u)

    def _longer_than_any_schedule(self) -> float:
        """A time after the end of any schedule of the requests that are in time."""
        where, stages = self._where, np.unique(self._tasks.stage)
        moves_s = [
            where.moving_s(int(k), sender, name)
            for k in stages
            for sender in where.senders(int(k))
            for name in self._names
        ]
        longest = max(moves_s, default=0.0) / self._unit_s
        last_due = self._due[self._timed].max(initial=0.0)
        return float(self._release.max() + last_due + len(self._tasks) * (2 + longest))

    def _require_one_device_in_time(self, t: int) -> None:
        self._program.require([(x, 1) for x in self._runs[t].values()], 1)
        if self._timed[t]:
            took = [(x, -self._takes[t, d]) for d, x in self._runs[t].items()]
            late = self._late[self._tasks.request[t]]
            self._program.require([(self._begin[t], -1), *took, (late, self._far)], -self._due[t])

    def _require_input(self, t: int) -> None:
        """Require a task to begin after its input has moved to its device, which costs carbon."""
        program, where, k = self._program, self._where, int(self._tasks.stage[t])
        moved, moving = program.variable(1.0), program.variable()  # its grams and time
        starts, before = where.work[k].stage == 0, self._runs[t - 1]
        for sender in where.senders(k):
            sent = [] if starts else [before[self._names.index(sender)]]
            for d, x in self._runs[t].items():
                way, least = [x, *sent], len(sent)  # all of them are 1 if the input takes this link
                carbon = where.moving_g(k, sender, self._names[d]) / self._unit_g
                if math.isinf(carbon):
                    program.require([(v, -1) for v in way], -least)
                    continue
                time = where.moving_s(k, sender, self._names[d]) / self._unit_s
                program.require([(moved, 1), *((v, -carbon) for v in way)], -carbon * least)
                program.require([(moving, 1), *((v, -time) for v in way)], -time * least)
        took = [] if starts else [(x, -self._takes[t - 1, d]) for d, x in before.items()]
        ready = [] if starts else [(self._begin[t - 1], -1), *took]
        after = self._release[t] if starts else 0.0
        late = (self._late[self._tasks.request[t]], 2 * self._far)
        program.require([(self._begin[t], 1), (moving, -1), *ready, late], after)

    def _require_one_at_a_time(self, t: int, u: int) -> None:
        """Require two tasks that are in time on one device not to overlap: t comes first, or u does."""
        request, due, release, far = self._tasks.request, self._due, self._release, self._far
        same, apart = request[t] == request[u], min(due[t], due[u]) <= max(release[t], release[u])
        if same or apart or not (self._timed[t] and self._timed[u]):
            return
        t_first = self._program.variable(most=1, whole=True)
        lax = [(self._late[request[t]], 2 * far), (self._late[request[u]], 2 * far)]
        begin_t, begin_u = self._begin[t], self._begin[u]
        for d in self._runs[t].keys() & self._runs[u].keys():
            both = [(self._runs[t][d], -2 * far), (self._runs[u][d], -2 * far), *lax]
            after_t, after_u = self._takes[t, d] - 6 * far, self._takes[u, d] - 4 * far
            self._program.require([(begin_u, 1), (begin_t, -1), (t_first, -2 * far), *both], after_t)
            self._program.require([(begin_t, 1), (begin_u, -1), (t_first, 2 * far), *both], after_u)

    def solve(self) -> tuple[float, Schedule | None]:
        """The least grams and the schedule; infinite and None if there is none."""
        cost, values = self._program.solve()
        if values is None:
            return math.inf, None
        device = np.array([max(own, key=lambda d: values[own[d]]) for own in self._runs])
        begin_s = values[self._begin] * self._unit_s
        last = ~self._timed | (values[self._late][self._tasks.request] > 0.5)
        begin_s = _soonest_s(self._tasks, self._where, device, np.where(last, np.inf, begin_s))
        return cost * self._unit_g, Schedule(device, begin_s)


def _soonest_s(tasks: Tasks, where: Situation, device: Ints, begin_s: Floats) -> Floats:
    """(tasks,): begin in seconds of each task if all keep device and order and none waits without need.

    The program may delay a task that has slack. Tasks whose begin_s is infinite come after all others.
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
