"""Units in names of columns, as people and services write them."""

from __future__ import annotations

import pytest

from pipeline.carbon.grids.column_unit import g_per_kwh_of_one
from pipeline.domain.checks import ConfigError


@pytest.mark.parametrize(
    ("factor", "names"),
    [
        (1, ("g", "intensity", "carbon_intensity_avg", "co2_per_kwh", "time_t")),  # no unit: g/kWh
        (1, ("g_per_kwh", "gCO2/kWh", "gCO2e kWh-1", "gco2_kwh", "lifecycle_g_per_kwh", "intensityGPerKWh")),
        (1, ("Carbon Intensity gCO₂eq/kWh (direct)", "Carbon intensity gCO₂eq/kWh (Life cycle)")),
        (1, ("kg/MWh", "kgCO2-eq_per_mwh", "tonnes_co2_per_gwh")),
        (1000, ("kg_per_kwh", "kgPerKWh", "kg CO2e / kWh", "t/MWh", "tCO2_per_mwh")),
        (0.45359237, ("lb/MWh", "lbs_co2_per_mwh", "aoer (lbs CO2/MWh)")),
        (453.59237, ("lb_per_kwh",)),
    ],
)
def test_a_unit_in_a_name_counts(factor: float, names: tuple[str, ...]) -> None:
    assert {name: g_per_kwh_of_one(name) for name in names} == pytest.approx(dict.fromkeys(names, factor))


@pytest.mark.parametrize(
    "name",
    ["ton/MWh", "mg_per_kwh", "g/MJ", "MtCO2/MWh", "carbon_kg", "carbon_per_mwh", "g_or_kg_per_kwh", "lbs"],
)
def test_a_unit_that_is_not_certain_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^grid\.column: '.*' states a unit that is not read; give"):
        g_per_kwh_of_one(name)


@pytest.mark.parametrize("name", ["co2_moer_lbs_per_mwh", "MOER", "marginal_g_per_kwh", "lrmer_co2e"])
def test_a_marginal_column_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^grid\.column: '.*': a marginal source cannot account for"):
        g_per_kwh_of_one(name)
