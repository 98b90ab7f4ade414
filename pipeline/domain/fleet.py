"""Devices, the links between them, and the ranges and sources of their figures. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeVar

from pipeline.domain.checks import named, require, require_list, require_mapping, require_number, require_pair
from pipeline.domain.energy import J_PER_KWH, LINK_END_SHARE
from pipeline.domain.plan import AUTO
from pipeline.domain.quantities import plain_values

J_PER_BYTE_PER_KWH_PER_GB = J_PER_KWH / 1e9
MOST_SPEED = 1e4
"""The most cores as quick as which a device can be meant to be."""
WIDEST = 1e9
"""The largest range that can be meant: its high end ÷ the value."""
LEAST_LATENCY_S = 1e-6
"""The least latency of the reference model that can be meant."""
Range = tuple[float, float]
"""The lowest and the highest value of a coefficient."""
_Part = TypeVar("_Part", "Device", "Link")


def _ranges(owner: str, holder: Any, known: Sequence[str]) -> dict[str, Range]:
    """The holder's `ranges`, checked: each belongs to a known coefficient and contains its value."""
    require_mapping(f"{owner}.ranges", holder.ranges, "coefficients to [low, high]")
    ranges = {}
    for name, ends in holder.ranges.items():
        require(name in known, f"{owner}.ranges: unknown {name!r} (known: {', '.join(known)})")
        value = getattr(holder, name)
        require(value is not None, f"{owner}.ranges.{name}: the {name} itself must be given too")
        require_pair(f"{owner}.ranges.{name}", ends)
        low, high = ends
        for end in ends:
            least, above = (1, False) if name == "pue" else (0, name == "lifetime_years")
            require_number(f"{owner}.ranges", name, end, least=least, above=above)
        require(
            low <= value <= high, f"{owner}.ranges.{name}: {value:g} must lie in it ([{low:g}, {high:g}])"
        )
        # Bounds scale a run's figures by range ÷ value, which a value of 0 does not allow.
        require(value > 0 or high == 0, f"{owner}.ranges.{name}: a range needs a value above 0 ({name}: 0)")
        wide = f"{owner}.ranges.{name}: must end within {WIDEST:g} times the value ({name}: {value!r})"
        require(high <= WIDEST * value or high == 0, wide)
        ranges[name] = (float(low), float(high))
    return ranges


def _sources(owner: str, holder: Any) -> dict[str, str]:
    """The holder's `sources`, checked: text by the name of a field."""
    require_mapping(f"{owner}.sources", holder.sources, "figures to texts")
    known = {f.name for f in fields(holder)}
    for name, text in holder.sources.items():
        require(name in known, f"{owner}.sources: unknown {name!r}")
        require(isinstance(text, str), f"{owner}.sources.{name}: must be text (it is {text!r})")
    return dict(holder.sources)


@dataclass(frozen=True)
class Device:
    """A machine that can run stages. Power is that of the whole device, at the wall if the source reports it.

    Its speed relative to one core is the first of these that is given: `speed`; the core's time for the
    fleet's reference model ÷ `reference_latency_s`, the published time; its CPU quota. The core is one of
    this host, or that of the fleet's `core_latency_s`. Raises ConfigError naming a bad key.
    """

    name: str
    memory_bytes: float
    active_w: float
    idle_w: float = 0.0
    cpu_quota: float = 1.0
    """CPUs that the device may use: a container's quota, or a board's cores."""
    speed: float | None = None
    reference_latency_s: float | None = None
    dispatch_s: float = 0.0
    """Seconds that the device needs to begin a stage, beyond what a profile measures: for example the call of
    its runtime. 0 where no source gives it."""
    zone: str | None = None
    intensity_g_per_kwh: float | None = None
    """Fixed carbon intensity, which replaces the zone's."""
    pue: float = 1.0
    embodied_kg: float | None = None
    lifetime_years: float | None = None
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)
    """[low, high] by coefficient (COEFFICIENTS); others have the ranges of `accounting.ranges`."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Source of each figure, by its name; audits list them."""

    SPEEDS: ClassVar = ("speed", "reference_latency_s", "cpu_quota")
    """The keys that say how quick it is, of which the first that is given counts."""
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
        require_number(owner, "active_w", self.active_w, least=0)
        require(
            self.idle_w <= self.active_w,
            f"{owner}: idle_w must be at most active_w, {self.active_w:g} (idle_w: {self.idle_w!r})",
        )
        require_number(owner, "cpu_quota", self.cpu_quota, least=0, above=True, most=MOST_SPEED)
        require_number(owner, "pue", self.pue, least=1)
        require_number(owner, "dispatch_s", self.dispatch_s, least=0)
        if self.speed is not None:
            require_number(owner, "speed", self.speed, least=0, above=True, most=MOST_SPEED)
        if self.reference_latency_s is not None:
            require_number(owner, "reference_latency_s", self.reference_latency_s, least=LEAST_LATENCY_S)
        if self.lifetime_years is not None:
            require_number(owner, "lifetime_years", self.lifetime_years, least=0, above=True)
        for name in ("intensity_g_per_kwh", "embodied_kg"):
            if getattr(self, name) is not None:
                require_number(owner, name, getattr(self, name), least=0)
        require(
            self.zone is None or (isinstance(self.zone, str) and self.zone.strip() != ""),
            f"{owner}: zone must be text, in quotes where YAML reads it as something else ({self.zone!r})",
        )
        require(
            self.zone is not None or self.intensity_g_per_kwh is not None,
            f"{owner}: zone or intensity_g_per_kwh must be given (zone: a grid region such as DE)",
        )
        object.__setattr__(self, "ranges", _ranges(owner, self, self.COEFFICIENTS))
        object.__setattr__(self, "sources", _sources(owner, self))

    @property
    def above_idle_w(self) -> float:
        """Power that a running stage adds to idle power: the device's dynamic power."""
        return self.active_w - self.idle_w


@dataclass(frozen=True)
class Link:
    """A connection between two devices; without `between`, between all pairs that have no link of their own.

    Raises ConfigError naming a bad key.
    """

    name: str
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0
    energy_j_per_byte: float | None = None
    """Energy of both ends together; None if no source gives it, and the ledger then leaves it out."""
    between: tuple[str, str] | None = None
    energy_kwh_per_gb: float | None = None
    """`energy_j_per_byte` as studies of wide-area networks state it (GB: 10^9 bytes); give one of the two."""
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)
    """[low, high] by name of a coefficient (COEFFICIENTS)."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Source of each figure, by its name."""

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
            require_list(f"{owner}.between", self.between, "two devices")
            object.__setattr__(self, "between", tuple(self.between))
            require(
                len(self.between) == 2 and self.between[0] != self.between[1],
                f"{owner}: between must name two different devices (between: {self.between})",
            )

    @property
    def end_j_per_byte(self) -> float | None:
        """Joules per byte at each of the two ends; None if no source gives the link's energy."""
        return None if self.energy_j_per_byte is None else LINK_END_SHARE * self.energy_j_per_byte

    def transfer_s(self, num_bytes: float) -> float:
        """Seconds to move that many bytes: latency + bytes ÷ bandwidth."""
        return self.latency_s + num_bytes / self.bandwidth_bytes_per_s


@dataclass(frozen=True)
class Fleet:
    """Devices and their links. Requests arrive at `source`; None: at the device of their first stage.

    Raises ConfigError naming a bad key.
    """

    name: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...] = ()
    source: str | None = None
    reference_model: str = "mobilenet_v2"
    """The torchvision model whose published time on a device is its `reference_latency_s`."""
    core_latency_s: float | None = None
    """The reference model's seconds on the core to which each `speed` and `cpu_quota` refers; figures are
    then the same on every host. None: a core of this host, when it was profiled."""
    monolithic: str | None = None
    """The device that runs the unsplit model when results are compared with "monolithic"."""
    without_idle_w: tuple[str, ...] = field(init=False, default=(), compare=False)
    """Devices of a config that does not state their `idle_w`, which is then 0."""
    without_speed: tuple[str, ...] = field(init=False, default=(), compare=False)
    """Devices of a config that has none of `Device.SPEEDS` for them: they are as quick as the core."""
    by_name: Mapping[str, Device] = field(init=False, repr=False, compare=False, hash=False)
    shared_link: Link | None = field(init=False, repr=False, compare=False, hash=False)
    """The link between all devices that have no link of their own; None: there is none."""
    _own_links: Mapping[str, Mapping[str, Link]] = field(init=False, repr=False, compare=False, hash=False)
    """The links between two devices, by either end and then the other."""

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"\w[\w .-]*", str(self.name)) is not None,
            f"fleet.name: must be letters, digits, spaces, '_', '.' or '-' ({self.name!r:.60})",
        )
        require(len(self.devices) > 0, "fleet.devices: at least one device must be given")
        object.__setattr__(self, "by_name", {device.name: device for device in self.devices})
        _require_one_link(self.links)
        shared = next((link for link in self.links if link.between is None), None)
        object.__setattr__(self, "shared_link", shared)
        own: dict[str, dict[str, Link]] = {}
        for link in self.links:
            for a, b in () if link.between is None else (link.between, link.between[::-1]):
                own.setdefault(a, {})[b] = link
        object.__setattr__(self, "_own_links", own)
        require(AUTO not in self.by_name, f"fleet.devices: no device may be called {AUTO!r}")
        for link in self.links:
            for end in link.between or ():
                self.require_device(f"fleet.links.{link.name}.between", end)
        if self.core_latency_s is not None:
            require_number("fleet", "core_latency_s", self.core_latency_s, least=LEAST_LATENCY_S)
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

        Sizes, rates, times and powers may be texts with a unit, such as `8 GB` (`quantities.plain`). Raises
        ConfigError naming the device or link and the key that is unknown, missing or bad.
        """
        links = {} if links is None else links
        require_mapping("fleet.devices", devices, "names to devices")
        require_mapping("fleet.links", links, "names to links")
        fleet = cls(
            name=name,
            devices=tuple(_part(Device, "fleet.devices", k, v) for k, v in devices.items()),
            links=tuple(_part(Link, "fleet.links", k, v) for k, v in links.items()),
            **plain_values("fleet", rest, _keys(cls)),
        )
        idle = tuple(k for k, v in devices.items() if "idle_w" not in v)
        quick = tuple(k for k, v in devices.items() if all(v.get(key) is None for key in Device.SPEEDS))
        object.__setattr__(fleet, "without_idle_w", idle)
        object.__setattr__(fleet, "without_speed", quick)
        return fleet

    def require_device(self, key: str, name: str) -> Device:
        """The device of that name. Raises ConfigError naming the config key if there is none."""
        require(
            isinstance(name, str) and name in self.by_name,
            f"{key}: unknown device {name!r} (the fleet {self.name!r} has {', '.join(self.by_name)})",
        )
        return self.by_name[name]

    def link(self, a: str, b: str) -> Link | None:
        """The link between two different devices, in either direction; None if they are not connected."""
        own = self._own_links.get(a)
        return self.shared_link if own is None else own.get(b, self.shared_link)

    def linked(self, device: str) -> Collection[str]:
        """The devices that a link of their own connects with a device."""
        return self._own_links.get(device, ())


def _keys(cls: type[Device | Link | Fleet]) -> set[str]:
    return {f.name for f in fields(cls)}


def _require_one_link(links: Sequence[Link]) -> None:
    """Raise ConfigError naming two links that connect the same two devices, or both all: one would count."""
    seen: dict[frozenset[str], Link] = {}
    for link in links:
        other = seen.setdefault(frozenset(link.between or ()), link)
        pair = " and ".join(link.between) if link.between else "any two devices (they have no between)"
        require(
            other is link, f"fleet.links: {other.name} and {link.name} both connect {pair}; leave one out"
        )


def _part(cls: type[_Part], key: str, name: str, values: Any) -> _Part:
    """The device or link of that name in a config, as `checks.named` builds it."""
    return named(cls, key, name, plain_values(f"{key}.{name}", values, _keys(cls)))
