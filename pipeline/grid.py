"""Carbon intensity of a zone at a time. Here: annual averages from the tables installed with CodeCarbon."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.domain import ConfigError, Device, Grid, require_number

G_PER_KWH_PER_LB_PER_MWH = 0.45359237
"""One pound is 453.59237 g by definition."""


@functools.cache
def installed_zones() -> Mapping[str, float]:
    """gCO2e/kWh, annual average, by zone: WORLD, countries (DE, DEU), US states (US-CA), Nordic zones (SE3).

    From CodeCarbon's tables: Ember / Our World in Data for countries, EPA eGRID for US states (lb/MWh there),
    ENTSO-E for the Nordic bidding zones.
    """
    import pycountry
    from codecarbon.input import DataSource

    source = DataSource()  # type: ignore[no-untyped-call]
    zones = {"WORLD": float(source.get_carbon_intensity_per_source_data()["world_average"])}
    for alpha_3, mix in source.get_global_energy_mix_data().items():
        if mix.get("carbon_intensity") is not None:
            zones[alpha_3] = float(mix["carbon_intensity"])
            country = pycountry.countries.get(alpha_3=alpha_3)
            if country is not None:
                zones[country.alpha_2] = zones[alpha_3]
    for state, row in source.get_country_emissions_data("usa").items():
        if not state.startswith("_"):
            zones[f"US-{row['regionCode']}"] = row["emissions"] * G_PER_KWH_PER_LB_PER_MWH
    for zone, row in source.get_nordic_country_energy_mix_data()["data"].items():
        zones.setdefault(zone, float(row["emission_factor"]))
    return zones


@dataclass(frozen=True)
class Static:
    """The same intensity at all times: `zones` by config, else the installed annual average."""

    zones: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for zone, value in self.zones.items():
            require_number("grid.zones", zone, value, least=0)

    def intensity_g_per_kwh(self, zone: str, at: datetime) -> float:
        """gCO2e/kWh, average, location-based. Raises ConfigError for a zone that no table has."""
        value = self.zones.get(zone, installed_zones().get(zone))
        if value is None:
            close = difflib.get_close_matches(zone, installed_zones(), n=3)
            hint = (
                f"did you mean {', '.join(close)}?" if close else "for example DE, FRA, US-CA, SE3 or WORLD"
            )
            raise ConfigError(f"zone: unknown zone {zone!r} ({hint}; or give it under grid.zones)")
        return float(value)


def device_intensity_g_per_kwh(device: Device, grid: Grid, at: datetime) -> float:
    """A device's own fixed intensity where it has one, else its zone's at that time."""
    if device.intensity_g_per_kwh is not None:
        return device.intensity_g_per_kwh
    assert device.zone is not None  # Device requires one of the two
    try:
        return grid.intensity_g_per_kwh(device.zone, at)
    except ConfigError as error:
        raise ConfigError(f"fleet.devices.{device.name}.{error}") from error
