"""The least carbon at which a run's requests could have been answered, had all been known beforehand. Pure.

Each task takes on any device what it took in the run, scaled to that device's profile. As many requests may
be late as were late in the run: a schedule that is allowed to answer nobody in time emits what it likes.
What counts is what tasks add: the energy of computing above idle, and of moving tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.carbon.ledger import known_components
from pipeline.domain.records import Records, request_latency_s
from pipeline.execution.deployment import StageDeployment, deploy
from pipeline.execution.hindsight.lp_bound import bound_g, slotted
from pipeline.execution.hindsight.milp_schedule import MAX_TASKS, best_schedule
from pipeline.execution.hindsight.schedule_problem import Schedule, Situation, Tasks, tasks_of, tasks_to_come
from pipeline.execution.job import Job


@dataclass(frozen=True)
class Hindsight:
    """The oracle's answer."""

    carbon_g: float
    """Of all requests that the run answered."""
    exact: bool
    """Whether a schedule is known that reaches it; else none is better."""


def hindsight(job: Job, records: Records) -> Hindsight:
    """The least carbon for a run's answered requests, with at most as many late ones as it had.

    Exact for at most MAX_TASKS tasks where neither intensities nor devices change, links taken to be
    free; else a bound from below.
    """
    network = "network" in known_components(records, job.fleet)
    situation = Situation(deploy(job.services), job.fleet, job.intensity, job.outages, network)
    tasks = tasks_of(job, situation.work, records)
    if _is_small(job, tasks):
        best_g, _ = best_schedule(tasks, situation, num_late(records))
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


def foresight(job: Job, work: Sequence[StageDeployment], margin: float) -> tuple[Tasks, Schedule]:
    """A schedule of all that is to come in an open loop, and its tasks: as few late answers as can be, then
    the least carbon.

    The best there is where `hindsight` would be exact; else the bound's, which may not come off: it divides
    tasks. margin: how much longer than predicted tasks are taken to be.
    """
    where, tasks = Situation(work, job.fleet, job.intensity, job.outages), tasks_to_come(job, work, margin)
    if _is_small(job, tasks):
        for late in range(len(tasks) + 1):
            _, schedule = best_schedule(tasks, where, late)
            if schedule is not None:
                return tasks, schedule
    return tasks, slotted(tasks, where)


def _is_small(job: Job, tasks: Tasks) -> bool:
    return len(tasks) <= MAX_TASKS and len(job.intensity.since_s) == 1 and not job.outages
