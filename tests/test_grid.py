"""Installed annual averages against figures looked up in CodeCarbon's own files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from conftest import choices, configured

from pipeline.domain import ConfigError, Device
from pipeline.grid import Static, device_intensity_g_per_kwh

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "g_per_kwh"),
    [
        ("DE", 380.95),
        ("DEU", 380.95),
        ("WORLD", 475.0),
        ("US-AL", 713.976 * 0.45359237),  # lb/MWh in the table
        ("SE1", 25.9),
    ],
)
def test_installed_averages(zone: str, g_per_kwh: float) -> None:
    assert Static().intensity_g_per_kwh(zone, NOW) == pytest.approx(g_per_kwh)


def test_config_wins_over_the_tables() -> None:
    assert Static({"DE": 1.5, "LAB": 20}).intensity_g_per_kwh("DE", NOW) == 1.5
    assert Static({"LAB": 20}).intensity_g_per_kwh("LAB", NOW) == 20


def test_an_unknown_zone_names_the_device_and_a_way_out() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DEE")
    with pytest.raises(ConfigError, match=r"fleet.devices.pi.zone: unknown zone 'DEE' .did you mean .*DE"):
        device_intensity_g_per_kwh(device, Static(), NOW)
    with pytest.raises(ConfigError, match="grid.zones: X must be a number >= 0"):
        Static({"X": -1})


def test_a_fixed_intensity_wins_over_the_zone() -> None:
    device = Device("pi", memory_bytes=1e9, active_w=5, zone="DE", intensity_g_per_kwh=7.0)
    assert device_intensity_g_per_kwh(device, Static(), NOW) == 7.0


@pytest.mark.parametrize("name", choices("fleet"))
def test_every_fleet_has_an_intensity_for_every_device(name: str) -> None:
    fleet = configured("fleet", name)
    values = [device_intensity_g_per_kwh(device, Static(), NOW) for device in fleet.devices]
    assert all(0 < value < 2000 for value in values)
    assert fleet.monolithic in fleet.by_name
