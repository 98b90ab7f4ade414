"""Annual averages of carbon intensity by zone, from CodeCarbon's tables. Shell: reads files."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping

from pipeline.domain.checks import ConfigError

G_PER_KWH_PER_LB_PER_MWH = 0.45359237
"""One pound is 453.59237 g by definition."""
INSTALLED = (
    "installed with CodeCarbon: Ember / Our World in Data, EPA eGRID (US states), ENTSO-E (Nordic zones), "
    "MEE / NBS (China), shares of sources x lifecycle factors (Canada), Google Cloud"
)
SOURCES_OF_CANADA = {
    "coal": "coal",
    "petroleum": "petroleum",
    "naturalGas": "natural_gas",
    "nuclear": "nuclear",
    "hydro": "hydroelectricity",
    "solar": "solar",
    "wind": "wind",
    "biomass": "biomass",
}
"""Names of sources in the shares and in the factors; `other` and `tidal` have no factor, and shares of 0."""


@functools.cache
def installed_zones() -> Mapping[str, float]:
    """gCO2e/kWh, annual average, by zone: WORLD, countries (DE, DEU), US states (US-CA), Nordic zones (SE3),
    Chinese and Canadian provinces (CN-BJ, CA-QC), cloud regions (gcp:europe-west1).

    From CodeCarbon's tables: Ember / Our World in Data for countries, EPA eGRID for US states (lb/MWh there),
    ENTSO-E for the Nordic bidding zones, China's MEE / NBS, Google Cloud's own figures. For provinces of
    Canada the tables give shares of sources, in per cent: each share is multiplied by the lifecycle factor of
    its source in the same tables (CodeCarbon itself counts combustion only, so that Quebec's dams count as
    0).
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
    for zone, row in source.get_china_provincial_emissions_data()["data"].items():
        zones.setdefault(zone, float(row["emission_factor"]))
    factors = source.get_carbon_intensity_per_source_data()
    provinces = pycountry.subdivisions.get(country_code="CA")  # type: ignore[no-untyped-call]
    of_canada = {each.name.lower(): each.code for each in provinces}
    for province, shares in source.get_country_energy_mix_data("can").items():
        known = {name: shares[name] for name in SOURCES_OF_CANADA}
        grams = sum(share * factors[SOURCES_OF_CANADA[name]] for name, share in known.items())
        zones[of_canada[province]] = grams / sum(known.values())
    for row in source.get_cloud_emissions_data().to_dict("records"):
        zones[f"{row['provider']}:{row['region']}"] = float(row["impact"])
    return zones


OTHER_CODES = {"UK": "GB", "EL": "GR", "USA": "US"}
"""Codes that people and the EU use for a country, and its ISO 3166 code."""


def country_and_state(zone: str) -> tuple[str, str] | None:
    """The names of the country and of the US state that both have the code, such as CA; None: not both."""
    import pycountry

    country = pycountry.countries.get(alpha_2=zone)
    state = pycountry.subdivisions.get(code=f"US-{zone}")  # type: ignore[no-untyped-call]
    return None if country is None or state is None else (country.name, state.name)


def installed_g_per_kwh(key: str, zone: str, remedy: str = "") -> float:
    """The annual average of a zone, in gCO2e/kWh. Raises ConfigError naming the key and similar zones."""
    zones = installed_zones()
    if zone not in zones:
        state = f"US-{zone.upper()}"
        meant = OTHER_CODES.get(zone.upper(), state if state in zones else None)
        close = [meant] if meant else difflib.get_close_matches(zone, zones, n=3, cutoff=0.75)
        examples = "known are, for example, DE, FRA, US-CA, SE3 and WORLD"
        hint = f"did you mean {', '.join(close)}" if close else examples
        raise ConfigError(f"{key}: unknown zone {zone!r} ({hint}{remedy})")
    return zones[zone]
