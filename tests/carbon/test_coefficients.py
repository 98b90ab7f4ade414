"""Bounds against every corner of the box; parts that add up; ranges in a fleet's config."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.carbon.accounting import ATTRIBUTIONS, Accounting
from pipeline.carbon.coefficients import bounds, known, parts, relative, run_bounds, table, unbounded
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.records import Records
from tests.conftest import INTENSITY, TWO_STAGES, record, runs

RANGES = {
    "active_w": [0.8, 1.3],
    "idle_w": [0.5, 1.5],
    "intensity_g_per_kwh": [0.9, 1.1],
    "energy_j_per_byte": [0.5, 2.0],
    "embodied_kg": [0.8, 1.2],
    "lifetime_years": [0.75, 1.5],
}


def device(**options: Any) -> Device:
    return Device("d", memory_bytes=1, active_w=2, zone="DE", **options)


def made(fleet: Fleet) -> Fleet:
    """Both devices with embodied carbon."""
    devices = tuple(replace(d, embodied_kg=40.0, lifetime_years=4.0) for d in fleet.devices)
    return replace(fleet, devices=devices)


def at_a_corner(
    fleet: Fleet, intensity: Intensity, accounting: Accounting, high: dict[str, bool]
) -> tuple[Fleet, Intensity]:
    """Fleet and intensities with each coefficient at its low or its high end, the same on all devices."""

    def end(owner: Device | Link, name: str) -> float:
        return relative(owner, name, accounting)[high[name]]

    devices = tuple(
        replace(
            d,
            ranges={},
            **{
                name: getattr(d, name) * end(d, name)
                for name in ("active_w", "idle_w", "embodied_kg", "lifetime_years")
            },
        )
        for d in fleet.devices
    )
    links = tuple(
        replace(x, energy_j_per_byte=(x.energy_j_per_byte or 0) * end(x, "energy_j_per_byte"))
        for x in fleet.links
    )
    shares = [end(device, "intensity_g_per_kwh") for device in fleet.devices]
    values = {
        n: float(v) * s for n, v, s in zip(intensity.names, intensity.g_per_kwh[:, 0], shares, strict=True)
    }
    return replace(fleet, devices=devices, links=links), Intensity.constant(values)


@pytest.mark.parametrize("rule", ATTRIBUTIONS)
def test_the_bounds_are_those_of_the_corners(rule: str, two_devices: Fleet) -> None:
    """With the same ends on both devices and one sign for all, the extremes are among 64 corners."""
    accounting, fleet = Accounting(rule, RANGES), made(two_devices)
    own = parts(account(TWO_STAGES, fleet, INTENSITY, accounting), fleet)
    totals = []
    for ends in itertools.product([False, True], repeat=len(RANGES)):
        corner = at_a_corner(fleet, INTENSITY, accounting, dict(zip(RANGES, ends, strict=True)))
        totals.append(float(account(TWO_STAGES, *corner, Accounting(rule))["carbon_g"].sum()))
    assert bounds(own, fleet, accounting) == pytest.approx((min(totals), max(totals)), rel=1e-9)


def test_bounds_by_hand(two_devices: Fleet) -> None:
    """fast computes 2 of 10 s: 60 J active, 80 J idle, at 600 g/kWh and PUE 1.5."""
    fast = replace(
        two_devices.devices[0], ranges={"active_w": [24, 33], "idle_w": [10, 15], "pue": [1.2, 1.5]}
    )
    fleet = replace(two_devices, devices=(fast, two_devices.devices[1]))
    table = TWO_STAGES.table[:1]
    run = replace(TWO_STAGES, table=table, reserved=("fast",))
    accounting = Accounting("full")
    assert known(fleet, accounting)
    assert not known(two_devices, accounting)
    own = parts(account(run, fleet, INTENSITY, accounting), fleet)
    g_per_j = 600 / 3.6e6
    low, high = bounds(own, fleet, accounting)
    assert low == pytest.approx((24 * 2 + 10 * 8) * g_per_j * 1.2)
    assert high == pytest.approx((33 * 2 + 15 * 8) * g_per_j * 1.5)


def test_a_link_s_error_is_the_same_for_all_devices(two_devices: Fleet) -> None:
    """The same bytes between other ends at one intensity: the link's energy makes no difference."""
    one = replace(two_devices.devices[0], pue=1.0)
    devices = tuple(replace(one, name=name) for name in "abc")
    wan = Link("wan", 1e6, energy_j_per_byte=1e-5, ranges={"energy_j_per_byte": [0, 1e-4]})
    idle = Link("idle", 1e6, energy_j_per_byte=1e-5, between=("a", "b"), ranges={"energy_j_per_byte": [0, 1]})
    fleet = Fleet("three", devices, (wan, replace(idle, between=("b", "c"))))
    intensity = Intensity.constant(dict.fromkeys("abc", 500.0))
    ways = [replace(TWO_STAGES, table=moved(f"a->{end}"), reserved=()) for end in "bc"]
    accounting = Accounting("marginal")
    first, second = (parts(account(run, fleet, intensity, accounting), fleet) for run in ways)
    assert second["link wan"].sum() == pytest.approx(1e6 * 1e-5 * 500 / 3.6e6)
    assert bounds(second, fleet, accounting) == pytest.approx((0, 1e6 * 1e-4 * 500 / 3.6e6))
    assert bounds(first - second, fleet, accounting) == pytest.approx((0, 0), abs=1e-15)


def test_the_pue_of_an_end_does_not_bound_the_network(two_devices: Fleet) -> None:
    """1 MB at 1 µJ: half a joule at 600 g/kWh and half at 100, whatever the range of fast's PUE."""
    fast = replace(two_devices.devices[0], ranges={"pue": [1.0, 3.0]})
    fleet = replace(two_devices, devices=(fast, two_devices.devices[1]))
    run = replace(TWO_STAGES, table=moved("fast->clean"), reserved=())
    accounting = Accounting("marginal")
    found = bounds(parts(account(run, fleet, INTENSITY, accounting), fleet), fleet, accounting)
    assert found == pytest.approx((0.5 * 700 / 3.6e6, 0.5 * 700 / 3.6e6))


def moved(way: str) -> pd.DataFrame:
    return pd.DataFrame([record(0, 0, "transfer", way, 0.0, 1.0, bytes=10**6)])


def test_no_total_is_below_zero(two_devices: Fleet) -> None:
    """The box of active_w and idle_w holds devices that draw less when busy; a run's bound does not."""
    accounting = Accounting("marginal", {"active_w": [0.1, 1], "idle_w": [1, 3]})
    ledger = account(TWO_STAGES, two_devices, INTENSITY, accounting)
    assert bounds(parts(ledger, two_devices), two_devices, accounting)[0] < 0
    assert run_bounds(ledger, two_devices, accounting)[0] == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(run=runs(), other=runs(), rule=st.sampled_from(ATTRIBUTIONS))
def test_parts_add_up_and_shared_errors_cancel(
    run: Records, other: Records, rule: str, two_devices: Fleet
) -> None:
    """The total lies within its bounds; a difference is no wider than that of independent errors."""
    accounting, fleet = Accounting(rule, RANGES), made(two_devices)
    ledgers = [account(each, fleet, INTENSITY, accounting) for each in (run, other)]
    totals = [float(ledger["carbon_g"].sum()) for ledger in ledgers]
    a, b = (parts(ledger, fleet) for ledger in ledgers)
    assert float(a.to_numpy().sum()) == pytest.approx(totals[0], rel=1e-9, abs=1e-12)
    (a_low, a_high), (b_low, b_high) = (bounds(each, fleet, accounting) for each in (a, b))
    assert a_low - 1e-12 <= totals[0] <= a_high + 1e-12
    low, high = bounds(a - b, fleet, accounting)
    assert low <= totals[0] - totals[1] + 1e-12
    assert high >= totals[0] - totals[1] - 1e-12
    assert low >= a_low - b_high - 1e-9
    assert high <= a_high - b_low + 1e-9
    assert bounds(a - a, fleet, accounting) == (0, 0)


def test_the_table_names_values_ranges_and_sources(two_devices: Fleet) -> None:
    fast = replace(two_devices.devices[0], ranges={"idle_w": [8, 12]}, sources={"idle_w": "a wall meter"})
    fleet = replace(two_devices, devices=(fast, two_devices.devices[1]))
    found = table(fleet, Accounting("full", RANGES), {"fast": 600.0, "clean": 100.0})
    rows = {(row["owner"], row["coefficient"]): row for row in found.to_dict("records")}
    idle = rows["fast", "idle_w"]
    assert (idle["low"], idle["value"], idle["high"], idle["source"]) == (8, 10, 12, "a wall meter")
    of_clean = rows["clean", "intensity_g_per_kwh"]
    assert (of_clean["low"], of_clean["high"]) == pytest.approx((90, 110))
    assert rows["lan", "energy_j_per_byte"]["high"] == pytest.approx(2e-6)
    assert ("clean", "embodied_kg") not in rows


def test_energy_of_a_wide_area_link_by_the_gigabyte() -> None:
    """1 kWh/GB is 3.6 mJ a byte."""
    link = Link("wan", 1e6, energy_kwh_per_gb=0.06, ranges={"energy_kwh_per_gb": [0.01, 0.2]})
    assert link.energy_j_per_byte == pytest.approx(2.16e-4)
    assert link.ranges["energy_j_per_byte"] == pytest.approx((3.6e-5, 7.2e-4))
    assert replace(link, latency_s=1.0).energy_j_per_byte == link.energy_j_per_byte


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: device(ranges={"memory_bytes": [1, 2]}), "d.ranges: unknown 'memory_bytes'"),
        (lambda: device(ranges={"active_w": [3, 4]}), "d.ranges.active_w: 2 must lie in it"),
        (lambda: device(ranges={"active_w": 3}), r"must be \[low, high\] \(it is 3\)"),
        (lambda: device(ranges={"pue": [0.5, 1]}), "pue must be a number >= 1"),
        (lambda: device(ranges={"embodied_kg": [1, 2]}), "the embodied_kg itself"),
        (lambda: device(sources={"colour": "x"}), "d.sources: unknown 'colour'"),
        (lambda: Link("x", 1, energy_j_per_byte=1, energy_kwh_per_gb=1), "x: give either"),
        (lambda: device(ranges={"idle_w": [0, 1]}), "idle_w: a range needs a value above 0"),
        (lambda: device(lifetime_years=1, ranges={"lifetime_years": [0, 2]}), "must be a number > 0"),
        (lambda: Device("d", 1, 2, zone=False), "zone must be text, in quotes where YAML"),  # type: ignore[arg-type]
        (lambda: Accounting("full", {"pue": [0.9, 1.2]}), "accounting.ranges.pue: no PUE is below 1"),
        (lambda: Accounting("full", {"colour": [0, 1]}), "accounting.ranges: unknown 'colour'"),
        (lambda: Accounting("full", {"pue": [1.1, 1.2]}), "accounting.ranges.pue: must contain 1"),
        (lambda: Accounting("full", {"lifetime_years": [0, 1.2]}), "lifetime_years must be a number > 0"),
    ],
)  # fmt: skip
def test_bad_ranges(make: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make()  # type: ignore[operator]


def test_no_device_no_bounds() -> None:
    nothing = pd.DataFrame(columns=["active", "idle", "embodied"], dtype=float)
    assert bounds(nothing, Fleet("f", (device(),)), Accounting()) == (0, 0)


def test_equal_powers_with_ranges_have_no_bounds(two_devices: Fleet) -> None:
    """Such a device draws 3 W, or up to 6 W while busy: a ledger does not tell for how long that is."""
    fast, clean = two_devices.devices
    even = replace(fast, idle_w=3.0, active_w=3.0)
    rules = Accounting("full")
    fleets = {
        powers: replace(
            two_devices, devices=(replace(even, ranges={powers: [3.0, 6.0]} if powers else {}), clean)
        )
        for powers in ("active_w", "idle_w", "")
    }
    for powers, fleet in fleets.items():
        assert unbounded(fleet, rules) == (["fast"] if powers else [])
        assert not known(fleet, rules)
    assert unbounded(fleets[""], Accounting("full", ranges={"idle_w": [0.5, 1.5]})) == ["fast"]
    assert unbounded(fleets[""], Accounting("full", ranges={"pue": [1.0, 1.1]})) == []
    assert known(fleets[""], Accounting("full", ranges={"pue": [1.0, 1.1]}))
