"""What a run says of zones that a person may mean otherwise: CA is Canada, and California US-CA. Shell."""

from __future__ import annotations

from pipeline.carbon.grid import Grid
from pipeline.carbon.grids.installed_zones import country_and_state
from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.domain.fleet import Fleet

PLAIN = ("DE",)
"""Read as a country without a line: our own fleets are in Germany, and Delaware is meant by few."""


def zone_notes(fleet: Fleet, grid: Grid, meter_zone: str | None = None) -> list[str]:
    """A line for each zone whose installed average counts and whose code is also that of a US state.

    meter_zone: the zone of the meter, which has the installed average under any grid; None: it has none.
    """
    zones = _averaged(fleet, grid) + ([] if meter_zone is None else [meter_zone])
    found = {zone: country_and_state(zone) for zone in zones if zone not in PLAIN}
    return [f"zone {zone} is {names[0]}; {names[1]} is US-{zone}" for zone, names in found.items() if names]


def _averaged(fleet: Fleet, grid: Grid) -> list[str]:
    """The zones of the fleet's devices whose intensity is an installed average."""
    if not isinstance(grid, Static | Synthetic):  # services and files have codes of their own
        return []
    zones = [device.zone for device in fleet.devices if device.zone and device.intensity_g_per_kwh is None]
    return [zone for zone in zones if zone not in grid.zones]
