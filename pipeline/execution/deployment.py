"""The devices that hold each stage of each service, with its memory need and its time there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.domain.checks import require, size_text
from pipeline.domain.plan import AUTO, COMPRESSIONS
from pipeline.domain.requests import Requests
from pipeline.execution.job import Job, Service
from pipeline.network.compression import compressed_bytes
from pipeline.planning.memory import needed_bytes
from pipeline.planning.stage_times import StageTimes


@dataclass(frozen=True)
class StageDeployment:
    """One stage of one service, deployed to the devices that hold it."""

    service: int
    stage: int
    """Index within its plan."""
    planned: str
    """Device in its plan, or AUTO."""
    memory_need_bytes: float
    input_bytes: int
    """Bytes that cross if it runs on another device than the stage before it."""
    seconds: Mapping[str, float]
    """Predicted seconds by device that holds the stage; with codecs, without transfers."""
    after_s: float
    """Least seconds of all later stages of the plan, without transfers."""


def deploy(services: Sequence[Service]) -> tuple[StageDeployment, ...]:
    """All stages of all services, in order; a task's `stage` is an index into this.

    Raises ConfigError if a stage fits no device that it may run on.
    """
    placed = place(services)
    work: list[StageDeployment] = []
    for index, (service, devices) in enumerate(zip(services, placed, strict=True)):
        own = _stages(service, index, devices)
        least = [min(stage.seconds.values()) for stage in own]
        work += [replace(stage, after_s=sum(least[k + 1 :])) for k, stage in enumerate(own)]
    return tuple(work)


def capacity_rps(work: Sequence[StageDeployment], shares: Sequence[float]) -> float:
    """Most requests per second that the fleet can answer. shares: share of the requests, by service.

    If a stage is on auto, every device that holds all stages takes whole requests; else the busiest device of
    the plans is the limit. Transfers are not considered.
    """
    total = sum(shares)
    busy_s: dict[str, float] = {}
    on_auto = any(stage.planned == AUTO for stage in work)
    for stage in work:
        for name in stage.seconds if on_auto else [stage.planned]:
            seconds = stage.seconds[name] * shares[stage.service] / total
            busy_s[name] = busy_s.get(name, 0.0) + seconds
    if not on_auto:
        return 1 / max(busy_s.values())
    whole = [name for name in busy_s if all(name in stage.seconds for stage in work)]
    return sum(1 / busy_s[name] for name in whole) or 1 / max(busy_s.values())


def arrivals(job: Job, work: Sequence[StageDeployment]) -> Iterator[Requests]:
    """The job's requests in blocks, in order of arrival; each call gives the same requests."""
    shares = [0.0] * len(job.services)
    for kind, each in enumerate(job.workload.classes):
        shares[job.service_of(kind)] += each.share
    capacity = capacity_rps(work, shares)
    return job.workload.arrivals(capacity, job.start_utc)


def _stages(service: Service, index: int, devices: Sequence[Sequence[str]]) -> list[StageDeployment]:
    """The stages of a service, with `after_s` not yet set; devices: those that hold each stage."""
    problem, plan = service.problem.along(service.plan), service.plan
    graph, times = problem.graph, StageTimes.of(replace(problem, compression=plan.compression))
    places = {name: place for place, name in enumerate(problem.fleet.by_name)}
    found = []
    for stage, names in enumerate(devices):
        begin, end = plan.stage(stage)
        codecs = [plan.compression_before(at) != COMPRESSIONS[0] for at in (stage, stage + 1)]
        seconds = times.seconds([places[name] for name in names], begin, end, *codecs).tolist()
        found.append(
            StageDeployment(
                service=index,
                stage=stage,
                planned=plan.devices[stage],
                memory_need_bytes=needed_bytes(
                    graph.stage_param_bytes(begin, end), graph.stage_peak_bytes(begin, end)
                ),
                input_bytes=compressed_bytes(graph.cuts[begin].tensors, plan.compression_before(stage)),
                seconds=dict(zip(names, seconds, strict=True)),
                after_s=0.0,
            )
        )
    return found


def place(services: Sequence[Service]) -> list[list[list[str]]]:
    """Devices that hold each stage, by service and stage: the planned one; for auto, all that it fits.

    Raises ConfigError for a stage that fits no device, and for a planned stage that has no link from a device
    of the stage before it.
    """
    fleet = services[0].problem.fleet
    held, peaks = dict.fromkeys(fleet.by_name, 0.0), dict.fromkeys(fleet.by_name, 0.0)
    placed = [[[] for _ in service.plan.devices] for service in services]  # type: list[list[list[str]]]
    stages = [(k, stage) for k, service in enumerate(services) for stage in range(service.plan.num_stages)]
    # Planned stages come first: those on auto must fit into the memory that is left.
    for k, stage in sorted(stages, key=lambda at: services[at[0]].plan.devices[at[1]] == AUTO):
        plan, graph = services[k].plan, services[k].problem.along(services[k].plan).graph
        begin, end = plan.stage(stage)
        parameters, peak = graph.stage_param_bytes(begin, end), graph.stage_peak_bytes(begin, end)
        wanted = list(fleet.by_name) if plan.devices[stage] == AUTO else [plan.devices[stage]]
        needed = {name: needed_bytes(parameters, max(peak, peaks[name])) for name in wanted}
        left = {name: fleet.by_name[name].memory_bytes - held[name] for name in wanted}
        fitting = [name for name in wanted if needed[name] <= left[name]]
        roomiest = max(wanted, key=lambda name: left[name] - needed[name])
        require(
            bool(fitting),
            f"fleet.devices.{roomiest}.memory_bytes: stage {stage} of {graph.name} (layers {begin} to {end}) "
            f"needs {size_text(needed[roomiest])} and {size_text(left[roomiest])} are left",
        )
        for name in fitting:
            held[name] += parameters
            peaks[name] = max(peak, peaks[name])
        placed[k][stage] = fitting
    for service, devices in zip(services, placed, strict=True):
        _require_reached(service, devices)
    return placed


def _require_reached(service: Service, devices: Sequence[Sequence[str]]) -> None:
    """Require a link to each planned stage from every device that may run the stage before it."""
    fleet = service.problem.fleet
    before = [[] if fleet.source is None else [fleet.source], *devices]
    for stage, (senders, receivers) in enumerate(zip(before, devices, strict=False)):
        for sender in senders if service.plan.devices[stage] != AUTO else ():
            connected = sender == receivers[0] or fleet.link(sender, receivers[0]) is not None
            pair = f"{sender} and {receivers[0]}"
            require(connected, f"fleet.links: {pair} are not connected, and stage {stage} needs them to be")
