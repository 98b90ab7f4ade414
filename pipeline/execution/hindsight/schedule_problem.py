"""The scheduling problem of a whole run: its tasks, and the devices and times at which each may run. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.carbon.intensity import Intensity
from pipeline.domain.energy import LINK_PUE, carbon_g, stage_energy_j
from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records
from pipeline.execution.deployment import StageDeployment, arrivals
from pipeline.execution.job import Job, Outage

Floats = npt.NDArray[np.float64]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tasks:
    """The tasks of a run, in order of request and stage. Each array is (tasks,)."""

    request: Ints
    """Index of its request, from 0 without gaps."""
    stage: Ints
    """Index among all stages of all services (`deployment.deploy`)."""
    ratio: Floats
    """Time ÷ predicted time on the same device."""
    release_s: Floats
    """Earliest start: arrival plus the least time of the stages before it."""
    due_s: Floats
    """Latest end that lets its request meet the deadline; infinite without a deadline."""
    window_s: Floats
    """Time from release to due, without the rounding of their difference."""

    def __len__(self) -> int:
        return len(self.request)


def tasks_of(job: Job, work: Sequence[StageDeployment], records: Records) -> Tasks:
    """The tasks of the run's answered requests; for a stage that ran several times, its last run."""
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
    number = np.unique(rows["request"], return_inverse=True)[1].astype(np.int64)
    arrived_s = arrival_s.loc[rows["request"]].to_numpy(dtype=float)
    return _tasks(work, number, stage, ratio, arrived_s, rows["deadline_s"].to_numpy(dtype=float))


def tasks_to_come(job: Job, work: Sequence[StageDeployment], margin: float) -> Tasks:
    """The tasks of an open loop's requests, each assumed to take (1 + margin) times the prediction."""
    blocks = list(arrivals(job, work))
    arrival_s = np.concatenate([np.empty(0), *(block.arrival_s for block in blocks)])
    kind = np.concatenate([np.empty(0, dtype=np.int64), *(block.kind for block in blocks)])
    services = [w.service for w in work]
    service = np.array([job.service_of(k) for k in range(len(job.workload.classes))])[kind]
    first = np.array([services.index(k) for k in range(len(job.services))])[service]
    stages = np.array([services.count(k) for k in range(len(job.services))])[service]
    number = np.repeat(np.arange(len(kind)), stages)
    stage = first[number] + np.arange(len(number)) - (np.cumsum(stages) - stages)[number]
    classes = job.workload.classes
    deadline_s = np.array([math.inf if c.deadline_s is None else c.deadline_s for c in classes])[kind]
    ratio = np.full(len(number), 1 + margin)
    return _tasks(work, number, stage, ratio, arrival_s[number], deadline_s[number])


def _tasks(
    work: Sequence[StageDeployment],
    number: Ints,
    stage: Ints,
    ratio: Floats,
    arrived_s: Floats,
    deadline_s: Floats,
) -> Tasks:
    """The tasks with their windows, which leave the request's other stages their least time.

    All arrays are (tasks,). number: index of the request; arrived_s and deadline_s: of the request.
    """
    least_s = np.array([min(w.seconds.values()) for w in work])[stage] * ratio
    before_s, after_s = np.zeros((2, len(number)))
    first = np.searchsorted(number, number)
    for k in range(1, int((np.arange(len(number)) - first).max(initial=0)) + 1):
        of_request = number[k:] == number[:-k]  # the task k rows earlier is of the same request
        before_s[k:][of_request] += least_s[:-k][of_request]
        after_s[:-k][of_request] += least_s[k:][of_request]
    window_s = deadline_s - before_s - after_s
    return Tasks(number, stage, ratio, arrived_s + before_s, arrived_s + deadline_s - after_s, window_s)


@dataclass(frozen=True, eq=False)
class Situation:
    """The devices and times at which tasks may run, and their times and emissions there."""

    work: Sequence[StageDeployment]
    fleet: Fleet
    intensity: Intensity
    outages: Sequence[Outage] = ()
    counts_network: bool = True
    """Whether the energy of transfers counts: the ledger leaves it out if that of some link is unknown."""

    @cached_property
    def seconds(self) -> Floats:
        """(stages, devices): predicted seconds; infinite where the device does not hold the stage."""
        return np.array([[w.seconds.get(name, math.inf) for name in self.fleet.by_name] for w in self.work])

    @cached_property
    def g_per_kwh(self) -> Floats:
        """(devices, steps): carbon intensity, in the fleet's order."""
        return self.intensity.g_per_kwh[[self.intensity.names.index(name) for name in self.fleet.by_name]]

    @cached_property
    def g_per_intensity(self) -> Floats:
        """(stages, devices): grams of a stage per g/kWh of intensity, above idle power; PUE included."""
        above_idle_w = np.array([device.above_idle_w for device in self.fleet.devices])
        pue = np.array([device.pue for device in self.fleet.devices])
        joules: Floats = stage_energy_j(self.seconds, above_idle_w)
        return carbon_g(joules, np.ones_like(pue), pue)

    @cached_property
    def num_stages(self) -> Ints:
        """(stages,): number of stages of the plan to which each stage belongs."""
        services = [w.service for w in self.work]
        return np.array([services.count(service) for service in services])

    def senders(self, k: int) -> Sequence[str]:
        """Devices that may hold a stage's input; none if the input is wherever the stage runs."""
        if self.work[k].stage > 0:
            return tuple(self.work[k - 1].seconds)
        return () if self.fleet.source is None else (self.fleet.source,)

    def moving_g(self, k: int, sender: str, receiver: str) -> float:
        """Least grams of moving a stage's input; infinite between unconnected devices."""
        if sender == receiver:
            return 0.0
        link = self.fleet.link(sender, receiver)
        if link is None:
            return math.inf
        if not self.counts_network:
            return 0.0
        end_j = self.work[k].input_bytes * (link.end_j_per_byte or 0.0)
        least = dict(zip(self.fleet.by_name, self.g_per_kwh.min(axis=1).tolist(), strict=True))
        return math.fsum(carbon_g(end_j, least[end], LINK_PUE) for end in (sender, receiver))

    def moving_s(self, k: int, sender: str, receiver: str) -> float:
        """Seconds of moving a stage's input over a free link."""
        link = None if sender == receiver else self.fleet.link(sender, receiver)
        return 0.0 if link is None else link.transfer_s(self.work[k].input_bytes)

    @cached_property
    def least_moving_g(self) -> Floats:
        """(stages, devices): least grams of moving the stage's input to the device from any sender."""
        return np.array(
            [
                [
                    min((self.moving_g(k, sender, name) for sender in self.senders(k)), default=0.0)
                    for name in self.fleet.by_name
                ]
                for k in range(len(self.work))
            ]
        )


@dataclass(frozen=True, eq=False)
class Schedule:
    """The device and the earliest start of each task. Each array is (tasks,)."""

    device: Ints
    """Index in the fleet's order; -1: undecided."""
    begin_s: Floats
    """Seconds from the run's start; -inf: as soon as the task is ready."""
