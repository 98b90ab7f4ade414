"""What a run says of figures that its fleet's file leaves open; nothing of the fleets that are shipped."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.domain.fleet import Fleet
from pipeline.results.fleet_notes import fleet_notes
from tests.conftest import choices, configured

DEVICE = {"memory_bytes": 1e9, "active_w": 5, "zone": "FR"}


def notes(devices: dict[str, dict[str, Any]], **rest: Any) -> list[str]:
    return fleet_notes(Fleet.of("mine", {name: {**DEVICE, **keys} for name, keys in devices.items()}, **rest))


@pytest.mark.parametrize("name", choices("fleet"))
def test_a_shipped_fleet_states_every_figure(name: str) -> None:
    assert fleet_notes(configured("fleet", name)) == []


def test_each_line_names_devices_what_is_assumed_and_the_key() -> None:
    idle, quick = notes({"nuc": {}, "pi": {}, "told": {"idle_w": 2, "cpu_quota": 4}})
    assert idle == (
        "the fleet 'mine' has no idle_w for nuc, pi: taken as 0 W, so that all of active_w counts as dynamic "
        "power; set fleet.devices.NAME.idle_w (0 where that is meant)"
    )
    assert quick == (
        "the fleet 'mine' has no speed, reference_latency_s or cpu_quota for nuc, pi: taken as one core of "
        "this host; set one of them in fleet.devices.NAME (cpu_quota: 1 where that is meant)"
    )
    (quick,) = notes({"a": {"idle_w": 0}}, core_latency_s="17 ms")
    assert "taken as one core of the fleet's core_latency_s; set" in quick


@pytest.mark.parametrize("speed", [{"speed": 1}, {"reference_latency_s": 0.02}, {"cpu_quota": 1}])
def test_what_is_stated_is_not_told_even_where_it_is_the_default(speed: dict[str, float]) -> None:
    assert notes({"a": {"idle_w": 0, **speed}}) == []


def test_null_states_no_speed() -> None:
    (quick,) = notes({"a": {"idle_w": 0, "speed": None, "reference_latency_s": None}})
    assert "cpu_quota for a: taken" in quick


def test_of_many_devices_a_line_names_some() -> None:
    idle, quick = notes({f"d{k}": {} for k in range(200)})
    assert "for d0, d1, d2, d3, d4 and 195 more: taken" in idle
    assert "for d0, d1, d2, d3, d4 and 195 more: taken" in quick
