"""Two runs of a request on two devices, whose figures are easy to work with by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.fleet import Fleet
from pipeline.results.accountant import Accountant
from pipeline.results.comparison.side import Side
from tests.conftest import INTENSITY, record, records


def side(fleet: Fleet, device: str, accounting: Accounting, **about: str) -> Side:
    """One request, which takes a device 10 s; only that device is reserved."""
    ran = records([record(0, 0, "compute", device, 0.0, 10.0)], window_s=10.0, reserved=(device,))
    account = Accountant(fleet, accounting, INTENSITY).account(ran)
    metrics: dict[str, Any] = account.metrics(1) | {"requests_ok": 1, "latency_ms_mean": 1e4}
    return Side.of_run(f"on {device}", metrics, account.ledger, fleet, accounting, about)


@pytest.fixture
def ranged() -> Accounting:
    return Accounting(ranges={"active_w": [0.5, 2.0], "intensity_g_per_kwh": [0.9, 1.1]})


@pytest.fixture
def fast(two_devices: Fleet, ranged: Accounting) -> Side:
    """30 W for 10 s at 600 g/kWh and PUE 1.5: 300 J, 75 mg."""
    return side(two_devices, "fast", ranged, model="tiny", workload="one")


@pytest.fixture
def clean(two_devices: Fleet, ranged: Accounting) -> Side:
    """12 W for 10 s at 100 g/kWh: 120 J, 3.33 mg."""
    return side(two_devices, "clean", ranged, model="tiny", workload="other")


@pytest.fixture
def published() -> Side:
    return Side.of_published(
        "there", {"energy_j_per_inf": 600.0, "carbon_g_per_inf": 0.05, "latency_ms_mean": 5.0}
    )


@pytest.fixture
def lifetimes(two_devices: Fleet) -> Fleet:
    """The same devices, whose embodied carbon is known."""
    devices = [replace(device, embodied_kg=100.0, lifetime_years=4.0) for device in two_devices.devices]
    return replace(two_devices, devices=tuple(devices))
