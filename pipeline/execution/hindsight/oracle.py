"""The least carbon for a run's requests, if all were known in advance, and a schedule for them. Pure.

Each request arrives when it did in the run, in a closed loop too, where another schedule would have had
other arrivals. All are answered by the end of the run or by the last deadline, whichever is later. Each task
takes its time in the run, scaled by the profile when it runs on another device. At most as many requests may
be late as in the run: without that limit a schedule could save carbon by being late. The carbon is that which
tasks add: of computing, above idle power, and of moving tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.carbon.intensity import FORESIGHT_S, Intensity
from pipeline.carbon.ledger import known_components
from pipeline.domain.records import Records, request_latency_s
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.hindsight.lp_bound import bound_g
from pipeline.execution.hindsight.lp_schedule import rounded_schedule
from pipeline.execution.hindsight.milp_schedule import MAX_TASKS, best_schedule
from pipeline.execution.hindsight.schedule_problem import Schedule, Situation, Tasks, tasks_of, tasks_to_come
from pipeline.execution.job import Job

ROUNDING = 1e-12
"""Share by which the sums of a run's carbon and of the least carbon may differ by rounding alone."""


@dataclass(frozen=True)
class Hindsight:
    """The least carbon of a run."""

    carbon_g: float
    """Grams for all requests that the run answered."""
    exact: bool
    """True: a schedule reaches it. False: it is a lower bound."""


def hindsight(job: Job, records: Records) -> Hindsight:
    """The least carbon for a run's answered requests, with at most as many late ones as it had.

    Exact, with links assumed free, for at most MAX_TASKS tasks under a constant intensity and without
    outages; otherwise a lower bound.
    """
    network = "network" in known_components(records, job.fleet)
    work = deploy(job.services)
    tasks = tasks_of(job, work, records)
    situation = Situation(work, job.fleet, _within(job, records.end_s, tasks), job.outages, network)
    if _is_small(situation, tasks):
        best_g, _ = best_schedule(tasks, situation, num_late(records))
        if math.isfinite(best_g):  # else links were faster than their figures
            return Hindsight(best_g, exact=True)
    return Hindsight(bound_g(tasks, situation, num_late(records)), exact=False)


def regret(job: Job, records: Records, ledger: pd.DataFrame) -> float | None:
    """Carbon of the run's tasks ÷ the least carbon - 1; None where the least is 0.

    ledger: that of the run; its columns component and carbon_g are used.
    """
    spent_g = ledger.loc[ledger["component"].isin(("dynamic", "network")), "carbon_g"].sum()
    least_g = hindsight(job, records).carbon_g
    if least_g <= 0:
        return None
    excess = float(spent_g) / least_g - 1
    return 0.0 if -ROUNDING <= excess < 0 else excess


def num_late(records: Records) -> int:
    """Number of requests that were answered after their deadline."""
    latency_s = request_latency_s(records)
    deadline_s = records.table.groupby("request")["deadline_s"].first()
    return int((latency_s > deadline_s.reindex(latency_s.index)).sum())


def best_foreseen_schedule(
    job: Job, work: Sequence[StageDeployment], margin: float
) -> tuple[Tasks, Schedule]:
    """The tasks of an open loop's requests, and a schedule: the fewest late answers, then the least carbon.

    The schedule is the best one where `hindsight` would be exact. Otherwise it is rounded from a linear
    program that divides tasks, and a run may be unable to follow it. margin: share by which tasks are assumed
    to take longer than predicted.
    """
    tasks = tasks_to_come(job, work, margin)
    intensity = _within(job, float(tasks.release_s.max(initial=0.0)), tasks)
    where = Situation(work, job.fleet, intensity, job.outages)
    if _is_small(where, tasks):
        for late in range(len(tasks) + 1):
            _, schedule = best_schedule(tasks, where, late)
            if schedule is not None:
                return tasks, schedule
    return tasks, rounded_schedule(tasks, where)


def _within(job: Job, end_s: float, tasks: Tasks) -> Intensity:
    """The intensities up to the end of the run or the last deadline (at most FORESIGHT_S after the end)."""
    last_due_s = tasks.due_s[np.isfinite(tasks.due_s)].max(initial=0.0)
    end_s = max(end_s, min(last_due_s, end_s + FORESIGHT_S))
    return job.intensity.until(end_s).before(end_s)


def _is_small(where: Situation, tasks: Tasks) -> bool:
    return len(tasks) <= MAX_TASKS and len(where.intensity.since_s) == 1 and not where.outages
