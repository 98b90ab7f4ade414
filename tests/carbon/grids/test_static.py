"""Installed annual averages against figures looked up in CodeCarbon's own files."""

from __future__ import annotations

import pytest

from pipeline.carbon.grids.static import Static
from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import ConfigError
from tests.carbon.conftest import NOW
from tests.conftest import choices, configured


@pytest.mark.parametrize(
    ("zone", "g_per_kwh"),
    [
        ("DE", 380.95),
        ("DEU", 380.95),
        ("WORLD", 475.0),
        ("US-AL", 713.976 * 0.45359237),  # lb/MWh in the table
        ("SE1", 25.9),
        ("CN-BJ", 555.4),
        ("gcp:africa-south1", 646.0),
        # 50.7% gas, 27.9 coal, 16.6 hydro, 3 wind, 1.2 biomass, .6 solar
        ("CA-SK", 0.507 * 743 + 0.279 * 995 + 0.196 * 26 + 0.012 * 230 + 0.006 * 48),
    ],
)
def test_installed_averages(zone: str, g_per_kwh: float) -> None:
    [(since, value)] = Static().steps(zone, NOW, NOW)
    assert since == NOW
    assert value == pytest.approx(g_per_kwh)


def test_config_wins_over_the_tables() -> None:
    assert Static({"DE": 1.5, "LAB": 20}).steps("DE", NOW, NOW) == [(NOW, 1.5)]
    assert Static({"LAB": 20}).steps("LAB", NOW, NOW) == [(NOW, 20)]


@pytest.mark.parametrize("name", choices("fleet"))
def test_every_fleet_has_an_intensity_for_every_device(name: str) -> None:
    fleet = configured("fleet", name)
    values = Intensity.of(fleet, Static(), NOW).at(0.0).values()
    assert all(0 < value < 2000 for value in values)
    assert fleet.monolithic in fleet.by_name


@pytest.mark.parametrize(("zone", "meant"), [("TX", "US-TX"), ("ny", "US-NY"), ("UK", "GB")])
def test_the_code_that_is_meant_is_told(zone: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown zone '{zone}' .did you mean {meant};"):
        Static().steps(zone, NOW, NOW)
