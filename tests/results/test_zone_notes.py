"""A run says which was meant where a zone is the code of a country and of a US state."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.domain.fleet import Device, Fleet
from pipeline.results.zone_notes import zone_notes
from tests.conftest import choices, configured


def in_zones(*zones: str, **keys: Any) -> Fleet:
    devices = (Device(f"d{k}", 1e9, active_w=5, zone=zone, **keys) for k, zone in enumerate(zones))
    return Fleet("mine", tuple(devices))


def test_a_zone_that_is_a_country_and_a_state_is_told_once() -> None:
    assert zone_notes(in_zones("CA", "FR", "GA", "CA", "US-CA", "CAN", "SE3", "WORLD"), Static()) == [
        "zone CA is Canada; California is US-CA",
        "zone GA is Gabon; Georgia is US-GA",
    ]


def test_where_the_config_gives_the_figure_nothing_is_told() -> None:
    assert zone_notes(in_zones("CA"), Static({"CA": 200.0})) == []
    assert zone_notes(in_zones("CA", intensity_g_per_kwh=200.0), Static()) == []
    assert zone_notes(in_zones("CA"), cast("Any", object())) == []  # a service or a file


def test_other_installed_averages_are_told_too() -> None:
    told = ["zone CA is Canada; California is US-CA"]
    assert zone_notes(in_zones("CA"), Synthetic()) == told
    assert zone_notes(in_zones("FR"), cast("Any", object()), meter_zone="CA") == told


@pytest.mark.parametrize("name", choices("fleet"))
def test_of_a_shipped_fleet_nothing_is_told(name: str) -> None:
    assert zone_notes(configured("fleet", name), Static()) == []
