"""The frozen nouns of an experiment and the protocols of its families. Pure: no I/O, no clock."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import torch

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


# --- the fleet ------------------------------------------------------------------------------------

J_PER_BYTE_PER_KWH_PER_GB = 3.6e6 / 1e9

Range = tuple[float, float]
"""How low and how high a coefficient may be."""


def _ranges(owner: str, holder: Any, known: Sequence[str]) -> dict[str, Range]:
    """The holder's `ranges`, checked: each of a known coefficient that has a value, which lies within."""
    ranges = {}
    for name, ends in holder.ranges.items():
        require(name in known, f"{owner}.ranges: unknown {name!r} (known: {', '.join(known)})")
        value = getattr(holder, name)
        require(value is not None, f"{owner}.ranges.{name}: the {name} itself must be given too")
        good = isinstance(ends, list | tuple) and len(ends) == 2
        require(good, f"{owner}.ranges.{name}: must be [low, high] (it is {ends!r})")
        low, high = ends
        for end in ends:
            least, above = (1, False) if name == "pue" else (0, name == "lifetime_years")
            require_number(f"{owner}.ranges", name, end, least=least, above=above)
        require(
            low <= value <= high, f"{owner}.ranges.{name}: {value:g} must lie in it ([{low:g}, {high:g}])"
        )
        # Bounds are told from what a run took at the value itself, which of 0 is nothing.
        require(value > 0 or high == 0, f"{owner}.ranges.{name}: a range needs a value above 0 ({name}: 0)")
        ranges[name] = (float(low), float(high))
    return ranges


def _sources(owner: str, holder: Any) -> dict[str, str]:
    """The holder's `sources`, checked: texts about fields that it has."""
    known = {f.name for f in fields(holder)}
    for name, text in holder.sources.items():
        require(name in known, f"{owner}.sources: unknown {name!r}")
        require(isinstance(text, str), f"{owner}.sources.{name}: must be a text (it is {text!r})")
    return dict(holder.sources)


@dataclass(frozen=True)
class Device:
    """A machine that can run stages. Power is the whole device's, at the wall where the source says so.

    Its speed relative to one core of this host is, in this order: `speed`; this host's time for the
    fleet's reference model ÷ `reference_latency_s`, its published time; else its CPU quota.
    """

    name: str
    memory_bytes: float
    active_w: float
    idle_w: float = 0.0
    cpu_quota: float = 1.0
    """CPUs that the device may use: the quota of a container, the cores of a board."""
    speed: float | None = None
    reference_latency_s: float | None = None
    zone: str | None = None
    intensity_g_per_kwh: float | None = None
    """Fixed intensity, which wins over the zone's."""
    pue: float = 1.0
    embodied_kg: float | None = None
    lifetime_years: float | None = None
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)
    """[low, high] by name of a coefficient (COEFFICIENTS); others have the accounting's shares."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Where a figure comes from, by its name; every audit shows it."""

    COEFFICIENTS: ClassVar = (
        "active_w", "idle_w", "intensity_g_per_kwh", "pue", "embodied_kg", "lifetime_years",
    )  # fmt: skip

    def __post_init__(self) -> None:
        owner = f"fleet.devices.{self.name}"
        require(
            isinstance(self.name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name) is not None,
            f"{owner}: a device's name must be letters, digits, '_', '.' or '-' (name: {self.name!r})",
        )
        require_number(owner, "memory_bytes", self.memory_bytes, least=0, above=True)
        require_number(owner, "idle_w", self.idle_w, least=0)
        require_number(owner, "active_w", self.active_w, least=self.idle_w)
        require_number(owner, "cpu_quota", self.cpu_quota, least=0, above=True)
        require_number(owner, "pue", self.pue, least=1)
        for name in ("speed", "reference_latency_s", "lifetime_years"):
            if getattr(self, name) is not None:
                require_number(owner, name, getattr(self, name), least=0, above=True)
        for name in ("intensity_g_per_kwh", "embodied_kg"):
            if getattr(self, name) is not None:
                require_number(owner, name, getattr(self, name), least=0)
        require(
            self.zone is None or (isinstance(self.zone, str) and self.zone.strip() != ""),
            f"{owner}: zone must be a text, in quotes where YAML reads it as something else ({self.zone!r})",
        )
        require(
            self.zone is not None or self.intensity_g_per_kwh is not None,
            f"{owner}: zone or intensity_g_per_kwh must be given (zone: a grid region such as DE)",
        )
        object.__setattr__(self, "ranges", _ranges(owner, self, self.COEFFICIENTS))
        object.__setattr__(self, "sources", _sources(owner, self))


@dataclass(frozen=True)
class Link:
    """A connection between two devices; without `between`, between any two that have none of their own."""

    name: str
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0
    energy_j_per_byte: float | None = None
    """Energy of both ends together; None where no source gives it (the ledger then leaves it out)."""
    between: tuple[str, str] | None = None
    energy_kwh_per_gb: float | None = None
    """`energy_j_per_byte` as studies of wide-area networks state it (GB: 10^9 bytes); give one of the two."""
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)
    """[low, high] by name of a coefficient (COEFFICIENTS)."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Where a figure comes from, by its name."""

    COEFFICIENTS: ClassVar = ("energy_j_per_byte", "energy_kwh_per_gb")

    def __post_init__(self) -> None:
        owner = f"fleet.links.{self.name}"
        require_number(owner, "bandwidth_bytes_per_s", self.bandwidth_bytes_per_s, least=0, above=True)
        require_number(owner, "latency_s", self.latency_s, least=0)
        for name in self.COEFFICIENTS:
            if getattr(self, name) is not None:
                require_number(owner, name, getattr(self, name), least=0)
        ranges = _ranges(owner, self, self.COEFFICIENTS)
        if self.energy_kwh_per_gb is not None:
            require(
                self.energy_j_per_byte is None,
                f"{owner}: give either energy_j_per_byte or energy_kwh_per_gb, not both",
            )
            object.__setattr__(self, "energy_j_per_byte", self.energy_kwh_per_gb * J_PER_BYTE_PER_KWH_PER_GB)
            object.__setattr__(self, "energy_kwh_per_gb", None)
            if "energy_kwh_per_gb" in ranges:
                low, high = (end * J_PER_BYTE_PER_KWH_PER_GB for end in ranges.pop("energy_kwh_per_gb"))
                ranges["energy_j_per_byte"] = low, high
        object.__setattr__(self, "ranges", ranges)
        renamed = {"energy_kwh_per_gb": "energy_j_per_byte"}
        sources = {renamed.get(name, name): text for name, text in _sources(owner, self).items()}
        object.__setattr__(self, "sources", sources)
        if self.between is not None:
            object.__setattr__(self, "between", tuple(self.between))
            require(
                len(self.between) == 2 and self.between[0] != self.between[1],
                f"{owner}: between must name two different devices (between: {self.between})",
            )

    def transfer_s(self, num_bytes: float) -> float:
        """Seconds to move that many bytes: latency + bytes ÷ bandwidth."""
        return self.latency_s + num_bytes / self.bandwidth_bytes_per_s


@dataclass(frozen=True)
class Fleet:
    """Devices and their links. `source` is where requests arise; None: wherever the first stage runs."""

    name: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...] = ()
    source: str | None = None
    reference_model: str = "mobilenet_v2"
    """The torchvision model whose published time on a device is its `reference_latency_s`."""
    monolithic: str | None = None
    """The device whose unsplit run stands for "monolithic" in comparisons."""
    by_name: Mapping[str, Device] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        require(len(self.devices) > 0, "fleet.devices: at least one device must be given")
        object.__setattr__(self, "by_name", {device.name: device for device in self.devices})
        require(AUTO not in self.by_name, f"fleet.devices: no device may be called {AUTO!r}")
        for link in self.links:
            for end in link.between or ():
                self.require_device(f"fleet.links.{link.name}.between", end)
        if self.source is not None:
            self.require_device("fleet.source", self.source)
        if self.monolithic is not None:
            self.require_device("fleet.monolithic", self.monolithic)

    @classmethod
    def of(
        cls,
        name: str,
        devices: Mapping[str, Mapping[str, Any]],
        links: Mapping[str, Mapping[str, Any]] | None = None,
        **rest: Any,
    ) -> Self:
        """A fleet from its config, where devices and links are keyed by name.

        Raises ConfigError naming the device or link and the key that is unknown, missing or bad.
        """
        return cls(
            name=name,
            devices=tuple(_named(Device, "fleet.devices", k, v) for k, v in (devices or {}).items()),
            links=tuple(_named(Link, "fleet.links", k, v) for k, v in (links or {}).items()),
            **rest,
        )

    def require_device(self, key: str, name: str) -> Device:
        """The device of that name; ConfigError naming the config key where there is none."""
        require(
            name in self.by_name,
            f"{key}: unknown device {name!r} (the fleet {self.name!r} has {', '.join(self.by_name)})",
        )
        return self.by_name[name]

    def link(self, a: str, b: str) -> Link | None:
        """The link between two different devices, in either direction; None where they are not connected."""
        for link in self.links:
            if link.between is not None and {a, b} == set(link.between):
                return link
        return next((link for link in self.links if link.between is None), None)


_Named = TypeVar("_Named", bound="Device | Link | RequestClass")


def _named(cls: type[_Named], key: str, name: str, values: Mapping[str, Any]) -> _Named:
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
        found = tuple(_named(cls, "workload.classes", name, given) for name, given in classes.items())
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
