"""The frozen nouns of an experiment and the protocols of its families. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import torch

    from pipeline.fleet import Device, Fleet, Link
    from pipeline.fleet_state import FleetState
    from pipeline.graph import Graph
    from pipeline.grid import Intensity
    from pipeline.profile import Profile

AUTO = "auto"
"""Stands in a plan where the scheduler chooses the device, task by task."""

COMPRESSIONS = ("float32", "float16", "int8")
"""How tensors may cross from stage to stage: as they are, halved, or as 8-bit integers by channel."""


class ConfigError(ValueError):
    """Bad input, told in one line: the key or device, the value, what was expected. Exit code 2."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_number(owner: str, name: str, value: Any, *, least: float, above: bool = False) -> None:
    """Require a finite number that is at least (or, with `above`, greater than) `least`."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    good = good and (value > least if above else value >= least)
    relation = ">" if above else ">="
    require(good, f"{owner}: {name} must be a number {relation} {least:g} ({name}: {value!r})")


def require_whole(owner: str, name: str, value: Any, *, least: int = 0) -> None:
    """Require a whole number that is at least `least`."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(good, f"{owner}.{name}: must be a whole number >= {least} (it is {value!r})")


def utc(key: str, text: Any) -> datetime:
    """A time as in 2021-06-01T00:00, in UTC where it says no offset; ConfigError naming the key else."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: must be a time as in 2021-06-01T00:00, or null ({text!r})") from error
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ConfigError(f"{key}: is no time that can be reckoned with ({text!r})") from error


def size_text(num_bytes: float) -> str:
    """Bytes for people: `12.3 MB`, or kB below a tenth of that unit."""
    return f"{num_bytes / 1e6:.1f} MB" if abs(num_bytes) >= 1e5 else f"{num_bytes / 1e3:.3g} kB"


def require_compression(key: str, value: Any) -> None:
    """Require one of COMPRESSIONS."""
    require(value in COMPRESSIONS, f"{key}: must be one of {', '.join(COMPRESSIONS)} ({value!r})")


# --- the network ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as it stands in a graph: its name, shape and dtype (as in `float32`), and its size."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int


@dataclass(frozen=True)
class Layer:
    """The smallest unit we profile: the operators between two neighbouring cut points."""

    index: int
    name: str
    op: str
    """Operator type: `conv2d`, `conv2d_depthwise`, `linear`, `hardtanh_` ..."""
    eq5_cost: int
    """Cost by Eq. 5 of the paper: kh*kw*Cin*Cout, Nin*Nout, or the number of parameters."""
    param_bytes: int
    """Parameters, buffers and constants that the layer holds."""
    peak_bytes: int
    """All activations alive while the layer runs, inputs and outputs (kernel workspace excluded)."""


@dataclass(frozen=True)
class Cut:
    """A place between layers where a model may be split: its boundary is all the tensors alive there.

    Cut k lies before layer k; cut 0 holds the model's input and the last cut its output.
    """

    index: int
    tensors: tuple[TensorSpec, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes that cross when the model is split here."""
        return sum(tensor.num_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class Plan:
    """Cuts and a device for each stage: stage k is layers[bounds[k]:bounds[k + 1]] on devices[k].

    A device may be AUTO: the scheduler then chooses one for every task of that stage.
    """

    bounds: tuple[int, ...]
    devices: tuple[str, ...]
    order: tuple[int, ...] = ()
    """The layers in the order in which they run, where that is not the chain's: `layers` above then means
    the layers in this order, so that a stage can be any set of layers that needs none of a later stage."""
    compression: str = COMPRESSIONS[0]
    """Of the tensors that cross between stages on different devices."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(self.bounds))
        object.__setattr__(self, "devices", tuple(self.devices))
        object.__setattr__(self, "order", tuple(self.order))
        rising = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        require(
            len(self.bounds) >= 2 and self.bounds[0] == 0 and rising,
            f"bounds must rise strictly from 0 (bounds: {self.bounds})",
        )
        require(
            len(self.devices) == len(self.bounds) - 1,
            f"a plan needs a device (or auto) for each stage (stages: {len(self.bounds) - 1}, "
            f"devices: {self.devices})",
        )
        require(
            not self.order or sorted(self.order) == list(range(self.bounds[-1])),
            f"order must hold each of the {self.bounds[-1]} layers once (order: {self.order})",
        )
        require_compression("compression", self.compression)

    @property
    def num_stages(self) -> int:
        """How many stages the plan has."""
        return len(self.devices)

    def stage(self, index: int) -> tuple[int, int]:
        """The half-open range of layers of a stage."""
        return self.bounds[index], self.bounds[index + 1]

    def compression_before(self, stage: int) -> str:
        """How the tensors that enter a stage are compressed.

        The model's input never is (stage 0), nor its answer (stage num_stages), nor what stays on one device.
        """
        if not 0 < stage < self.num_stages:
            return COMPRESSIONS[0]
        sender, receiver = self.devices[stage - 1 : stage + 1]
        return COMPRESSIONS[0] if sender == receiver != AUTO else self.compression


_Named = TypeVar("_Named", bound="Device | Link | RequestClass")


def named(cls: type[_Named], key: str, name: str, values: Mapping[str, Any]) -> _Named:
    """What a config says under a name. Raises ConfigError naming the key that is unknown, missing or bad."""
    require(isinstance(values, Mapping), f"{key}.{name}: must be a mapping (it is {values!r})")
    known = {f.name for f in fields(cls) if f.name != "name"}
    for unknown in set(values) - known:
        raise ConfigError(f"{key}.{name}: unknown key {unknown!r} (known: {', '.join(sorted(known))})")
    try:
        return cls(name=name, **values)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise ConfigError(f"{key}.{name}: missing {missing}") from error


# --- a run ----------------------------------------------------------------------------------------

RECORD_COLUMNS = (
    "request",
    "tenant",
    "model",
    "deadline_s",
    "stage",
    "kind",
    "device",
    "queued_s",
    "start_s",
    "end_s",
    "cpu_s",
    "bytes",
    "status",
    "reason",
)
"""Columns of the records table, one row per task or transfer.

kind is compute, transfer or rejected; device is the device that computed, or `from->to` of a transfer;
status is ok, failed, or lost (the device is gone, and the task goes elsewhere). Times are seconds from the
run's start. queued_s is when the task became ready: of a request's first stage, when the request arose.
deadline_s is the time from then within which the request was to be answered (infinite: none). cpu_s is CPU
seconds (at the host speed of the profile, see Profile); bytes are those that a transfer moved.
"""


@dataclass(frozen=True)
class Records:
    """What happened in a run: the narrow waist between backends and everything after them."""

    table: pd.DataFrame
    start_utc: datetime
    window_s: float
    """Length of the run on the clock of the table, over which reserved devices draw idle power."""
    reserved: tuple[str, ...]
    """Devices that were held for this run."""
    measurement: str
    """measured, emulated or simulated."""
    outputs: tuple[torch.Tensor, ...] = ()
    """The model's answer to each request that succeeded, in request order; empty if not computed."""
    scheduling_s: tuple[float, ...] = ()
    """Wall seconds of each scheduler decision."""
    host_drift: float | None = None
    """This host's time for the reference model now ÷ when profiled, divided out of the table."""
    host_late: float | None = None
    """Time for which other work on this host held stages up ÷ the run's time, left out of the table."""

    def about(self) -> dict[str, Any]:
        """What accounting needs beside the table, as JSON can hold it."""
        return {
            "start_utc": self.start_utc.isoformat(),
            "window_s": self.window_s,
            "reserved": list(self.reserved),
            "measurement": self.measurement,
        }

    @classmethod
    def of(cls, table: pd.DataFrame, about: Mapping[str, Any]) -> Self:
        """Records from their table and what `about` said."""
        return cls(
            table, utc("start_utc", about["start_utc"]), about["window_s"], tuple(about["reserved"]),
            about["measurement"],
        )  # fmt: skip


@dataclass(frozen=True)
class TrialResult:
    """What one configuration gives back to a sweep: its MLflow run and its metrics."""

    run_id: str
    name: str
    metrics: Mapping[str, float]
    labels: Mapping[str, str]
    """What people tell trials apart by: cuts, devices, partitioner, scheduler."""
    plan: Mapping[str, Any] | None = None
    """The fields of the Plan as it ran; None where a stage ran on several devices."""
    boundary: str = ""
    """What its carbon holds and what it leaves out."""


@dataclass(frozen=True)
class Problem:
    """All that a partitioner may know."""

    graph: Graph
    fleet: Fleet
    profile: Profile
    intensity_g_per_kwh: Mapping[str, float]
    """By device, at the run's start."""
    compression: str = COMPRESSIONS[0]
    """Of the tensors that cross between devices, in every plan for this problem."""
    idle: str = "full"
    """Which idle energy counts, as in `pipeline.ledger.Accounting`."""

    def plan(self, bounds: Sequence[int], devices: Sequence[str], order: Sequence[int] = ()) -> Plan:
        """A plan under the problem's compression.

        Raises ConfigError where its stages do not fit a device: the parameters of all of a device's stages
        stand in its memory beside the largest set of activations among them. Stages on auto do not count.
        """
        plan = Plan(tuple(bounds), tuple(devices), tuple(order), self.compression)
        graph = self.along(plan).graph
        for name in dict.fromkeys(plan.devices):
            if name == AUTO:
                continue
            stages = [plan.stage(k) for k, device in enumerate(plan.devices) if device == name]
            need = sum(graph.stage_param_bytes(*stage) for stage in stages)
            need += max(graph.stage_peak_bytes(*stage) for stage in stages)
            room = self.fleet.require_device("partitioner.devices", name).memory_bytes
            require(
                need <= room,
                f"fleet.devices.{name}.memory_bytes: the plan needs {size_text(need)} there (layers "
                f"{', '.join(f'{b} to {e}' for b, e in stages)}) and it has {size_text(room)}, "
                f"{size_text(need - room)} short",
            )
        return plan

    def along(self, plan: Plan) -> Problem:
        """The problem with its layers in the plan's order, where the plan's bounds are a chain's.

        Raises ConfigError for an order in which a layer comes before one that it needs.
        """
        if not plan.order:
            return self
        graph, profile = self.graph.reordered(plan.order), self.profile.reordered(plan.order)
        return replace(self, graph=graph, profile=profile)


@dataclass(frozen=True)
class RequestClass:
    """Requests of one kind: whose they are, which model they ask, by when they want to be answered.

    A short deadline is a promise of latency; a long one leaves slack in which a request may be deferred.
    """

    name: str = "default"
    tenant: str = "default"
    model: str | None = None
    """By name; None: the config's own."""
    deadline_s: float | None = None
    """Seconds from arrival; None: whenever."""
    share: float = 1.0
    """Of all requests, relative to the other classes' shares."""

    def __post_init__(self) -> None:
        owner = f"workload.classes.{self.name}"
        require_number(owner, "share", self.share, least=0)
        if self.deadline_s is not None:
            require_number(owner, "deadline_s", self.deadline_s, least=0, above=True)
        require(isinstance(self.tenant, str), f"{owner}.tenant: must be a name ({self.tenant!r})")
        model = self.model
        require(model is None or isinstance(model, str), f"{owner}.model: must be a name ({model!r})")

    @classmethod
    def all(cls, classes: Mapping[str, Mapping[str, Any]] | tuple[Self, ...]) -> tuple[Self, ...]:
        """The classes of a config, by name; one without deadline where there are none."""
        if isinstance(classes, tuple):
            return classes or (cls(),)
        require(isinstance(classes, Mapping), f"workload.classes: must be a mapping (it is {classes!r})")
        found = tuple(named(cls, "workload.classes", name, given) for name, given in classes.items())
        require(not found or sum(c.share for c in found) > 0, "workload.classes: the shares are all 0")
        return found or (cls(),)


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests by arrival, one entry each."""

    arrival_s: npt.NDArray[np.float64]
    """Seconds from the run's start, rising; all 0 in a closed loop."""
    kind: npt.NDArray[np.int64]
    """Index of its class."""

    def __len__(self) -> int:
        return len(self.arrival_s)


@dataclass(frozen=True, eq=False)
class Service:
    """A model as the fleet offers it: its problem, the plan by which it runs, and what requests ask of it.

    Its name is its graph's; a run has each model once.
    """

    problem: Problem
    plan: Plan
    inputs: Sequence[torch.Tensor] = ()
    """Taken in turn; empty where nothing is computed."""


@dataclass(frozen=True)
class Outage:
    """A device that is gone for a while, and with it what it was working on."""

    device: str
    at_s: float
    for_s: float = math.inf

    @classmethod
    def all(cls, outages: Sequence[Mapping[str, Any] | Self], fleet: Fleet) -> tuple[Self, ...]:
        """The outages of a config, a list of mappings. Raises ConfigError naming the one that is bad."""
        require(isinstance(outages, Sequence), f"outages: must be a list (it is {outages!r})")
        found = []
        for index, given in enumerate(outages):
            known = isinstance(given, cls) or (
                isinstance(given, Mapping)
                and {"device", "at_s"} <= given.keys() <= {"device", "at_s", "for_s"}
            )
            require(known, f"outages.{index}: must be {{device, at_s, for_s}} (it is {given!r})")
            outage = given if isinstance(given, cls) else cls(**cast("Mapping[str, Any]", given))
            named = isinstance(outage.device, str)
            require(named, f"outages.{index}.device: must be a name ({outage.device!r})")
            fleet.require_device(f"outages.{index}.device", outage.device)
            require_number(f"outages.{index}", "at_s", outage.at_s, least=0)
            if outage.for_s != math.inf:
                require_number(f"outages.{index}", "for_s", outage.for_s, least=0, above=True)
            found.append(outage)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Job:
    """All that a backend is to run. The services share one fleet."""

    services: tuple[Service, ...]
    workload: Workload
    scheduler: Scheduler
    intensity: Intensity
    start_utc: datetime
    outages: tuple[Outage, ...] = ()
    sink: Callable[[Records], object] | None = None
    """Takes the records part by part, each with all rows of its requests, so that none are kept: those that
    the backend gives back at the end have no rows then. None: they have all rows."""

    @property
    def fleet(self) -> Fleet:
        """The services' fleet."""
        return self.services[0].problem.fleet

    def service_of(self, kind: int) -> int:
        """Index of the service that a class of requests asks. Raises ConfigError where there is none."""
        model = self.workload.classes[kind].model
        if model is None:
            return 0
        names = [service.problem.graph.name for service in self.services]
        key = f"workload.classes.{self.workload.classes[kind].name}.model"
        require(model in names, f"{key}: unknown model {model!r} (the run has {', '.join(names)})")
        return names.index(model)


# --- the scheduler's question and its answers -----------------------------------------------------


class Task(NamedTuple):
    """One stage of one request, ready to run. A tuple, since a simulation makes many."""

    request: int
    stage: int
    """Its number among all stages of all services (`Job.services`)."""
    cpu_need: float
    """CPUs it takes while it runs."""
    memory_need_bytes: float
    input_bytes: int
    location: str | None
    """The device that holds its input; None: wherever it runs."""
    tenant: str = "default"
    arrival_s: float = 0.0
    """When its request arose."""
    deadline_s: float = math.inf
    """When its request must be answered."""


class Assign(NamedTuple):
    """Run the task on this device, after what it was given before."""

    device: str


class Wait(NamedTuple):
    """Ask again at that time (seconds from the run's start); inf: when a task ends or a device is back."""

    until_s: float


class Refuse(NamedTuple):
    """The task cannot run at all, and why."""

    reason: str


Decision = Assign | Wait | Refuse


# --- families: one method each --------------------------------------------------------------------


class Partitioner(Protocol):
    """Where to cut."""

    def partition(self, problem: Problem) -> Plan:
        """The plan for a problem; deterministic, its inputs unchanged."""
        ...


class Scheduler(Protocol):
    """Who runs a stage. Frozen: the fleet's state belongs to the backend."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign the task to a device, wait, or refuse it."""
        ...


class Grid(Protocol):
    """Carbon intensity of a zone."""

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """What is in force from begin to end (UTC): (since, gCO2e/kWh), each until the next one's `since`.

        The first holds since `begin` or before. Raises ConfigError for a zone that is unknown, and for a time
        that the source does not cover.
        """
        ...

    def about(self) -> Mapping[str, str]:
        """What an audit says of it: source, factor, and where there are data, their hash."""
        ...


class Pictures(Protocol):
    """What requests are about."""

    def inputs(self, spec: Any, requests: int | None) -> Sequence[torch.Tensor]:
        """Input tensors, each (1, 3, size, size), preprocessed as the model's spec says.

        At most one a request where their number is known; requests take them in turn.
        """
        ...


class Workload(Protocol):
    """Which requests arise, and when."""

    @property
    def classes(self) -> tuple[RequestClass, ...]:
        """At least one."""
        ...

    @property
    def count(self) -> int | None:
        """How many requests; None where chance decides."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Requests at a time in a closed loop, where the next arises when one is done; None: an open loop."""
        ...

    @property
    def horizon_s(self) -> float:
        """Within which the last request arises; 0 in a closed loop, of which nobody knows it."""
        ...

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in blocks, by arrival; the same ones each time.

        capacity_rps: what the fleet can answer at best, for a rate that is given as a share of it.
        """
        ...


class Backend(Protocol):
    """Runs plans."""

    @property
    def computes(self) -> bool:
        """Whether it runs the model, and so needs inputs."""
        ...

    def run(self, job: Job) -> Records:
        """Run every request through its service's stages and say what happened."""
        ...
