"""The rules for which energy and carbon count, and the text that states the boundary. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.domain.checks import listed, require, require_mapping, require_number, require_pair
from pipeline.domain.energy import Number
from pipeline.domain.fleet import Device, Range

COMPONENTS = ("dynamic", "idle", "network", "embodied")
IDLE_MEANS = {
    "marginal": "none of the idle power",
    "proportional": "idle power while stages ran",
    "full": "idle power of {reserved} over the whole run",
}
ATTRIBUTIONS = tuple(IDLE_MEANS)
RESERVED_MEANS = {"used": "the devices that ran a stage", "fleet": "all devices of the fleet"}


@dataclass(frozen=True)
class Accounting:
    """The idle energy that counts, the devices that count as reserved, and the ranges of coefficients.

    idle: marginal: none. proportional: idle power while a stage runs. full: idle power of every reserved
    device over the whole run, as the SCI specification (ISO/IEC 21031) counts reserved hardware. reserved:
    used: the devices that ran a stage, for fleets whose other devices are off or serve others. fleet: all
    devices, for fleets that are on whatever runs. Embodied carbon is that of the reserved devices. Raises
    ConfigError naming a bad key.
    """

    idle: str = "full"
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """[low, high] ÷ value by coefficient (COEFFICIENTS), for devices and links without their own range."""
    reserved: str = "used"

    COEFFICIENTS: ClassVar = (*Device.COEFFICIENTS, "energy_j_per_byte")

    def __post_init__(self) -> None:
        require(
            self.idle in ATTRIBUTIONS,
            f"accounting.idle: must be one of {', '.join(ATTRIBUTIONS)} (idle: {self.idle!r})",
        )
        require(
            self.reserved in RESERVED_MEANS,
            f"accounting.reserved: must be one of {', '.join(RESERVED_MEANS)} (reserved: {self.reserved!r})",
        )
        require_mapping("accounting.ranges", self.ranges, "coefficients to [low, high]")
        ranges: dict[str, Range] = {}
        for name, ends in self.ranges.items():
            known = ", ".join(self.COEFFICIENTS)
            require(name in self.COEFFICIENTS, f"accounting.ranges: unknown {name!r} (known: {known})")
            require_pair(f"accounting.ranges.{name}", ends)
            for end in ends:
                above = name == "lifetime_years"
                require_number("accounting.ranges", name, end, least=0, above=above, most=1e3)
            low, high = map(float, ends)
            require(low <= 1 <= high, f"accounting.ranges.{name}: must contain 1, the value itself ({ends})")
            require(name != "pue" or low == 1, f"accounting.ranges.pue: no PUE is below 1 ({ends})")
            ranges[name] = (low, high)
        object.__setattr__(self, "ranges", ranges)

    @property
    def is_sci(self) -> bool:
        """Whether idle power and embodied carbon count as SCI asks: of all hardware that is reserved."""
        return self.idle == "full" and self.reserved == "fleet"


def counted_idle_w(idle_w: Number, attribution: str) -> tuple[Number, Number]:
    """Idle power that counts while a task runs, and idle power that counts while a device is reserved.

    attribution: one of ATTRIBUTIONS. `marginal` counts neither, `proportional` the first, `full` the second.
    """
    none = 0.0 * idle_w
    return (idle_w if attribution == "proportional" else none), (idle_w if attribution == "full" else none)


def boundary(
    left_out: Mapping[str, str],
    accounting: Accounting,
    grid: Mapping[str, str],
    without_idle_w: Sequence[str] = (),
) -> str:
    """The components that the figures of a run include and leave out, in one line, as SCI requires.

    left_out: the missing components and why (`pipeline.carbon.ledger.unknown`). grid: `Grid.about`.
    without_idle_w: devices whose idle power is not known and counts as 0.
    """
    reserved = RESERVED_MEANS[accounting.reserved]
    assumed = without_idle_w and accounting.idle != "marginal"
    included = {
        "dynamic": "power above idle while stages ran",
        "idle": IDLE_MEANS[accounting.idle].format(reserved=reserved)
        + (f", taken as 0 W for {listed(without_idle_w)}" if assumed else ""),
        "network": "links, half at each end",
        "embodied": f"manufacture of {reserved}, by the run's share of the lifetime",
    }
    counted = "; ".join(f"{c} ({included[c]})" for c in COMPONENTS if c not in left_out)
    missing = [f"{c} (unknown: {why})" for c, why in left_out.items()]
    others = ["the transfer of answers back", "the requester's device", "training the model"]
    return (
        f"Counted: {counted}. Left out: {'; '.join([*missing, *others])}. "
        f"Per inference, location-based; intensity: {grid.get('factor', 'average')}."
    )
