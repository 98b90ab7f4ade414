"""Eq. 2 and the components by hand; conservation as a law."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.carbon.accounting import ATTRIBUTIONS, Accounting, boundary
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import LEDGER_COLUMNS, account, known_components
from pipeline.carbon.stored_ledger import checked_ledger
from pipeline.domain.checks import ConfigError
from pipeline.domain.energy import carbon_g
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.records import Records
from tests.conftest import INTENSITY, TWO_STAGES, record, records, runs


def test_equation_2() -> None:
    # 1 kWh at 500 g/kWh and PUE 1.2.
    assert carbon_g(3.6e6, 500.0, 1.2) == 600.0


@pytest.mark.parametrize(
    ("rule", "idle_j"),
    [("full", 10 * 10 + 2 * 10), ("proportional", 10 * 2 + 2 * 5), ("marginal", 0)],
)
def test_components_by_hand(rule: str, idle_j: float, two_devices: Fleet) -> None:
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting(rule))
    energy = ledger.groupby("component")["energy_j"].sum()
    assert tuple(ledger.columns) == LEDGER_COLUMNS
    assert energy["dynamic"] == (30 - 10) * 2 + (12 - 2) * 5
    assert energy["idle"] == idle_j
    assert energy["network"] == pytest.approx(4.0)  # 4 MB at 1 µJ/byte, half at each end
    carbon = ledger.groupby(["component", "device"])["carbon_g"].sum()
    assert carbon["dynamic", "fast"] == pytest.approx(40 / 3.6e6 * 600 * 1.5)
    assert carbon["network", "clean"] == pytest.approx(2 / 3.6e6 * 100)
    assert carbon["network", "fast"] == pytest.approx(2 / 3.6e6 * 600)  # no PUE: the link's figure covers all


ONLY_FAST = replace(TWO_STAGES, table=TWO_STAGES.table[:1], reserved=("fast",))


@pytest.mark.parametrize(("reserved", "idle_j", "made"), [("used", 100, 1), ("fleet", 100 + 20, 2)])
def test_a_reserved_device_that_did_nothing(
    reserved: str, idle_j: float, made: int, two_devices: Fleet
) -> None:
    """fast idles at 10 W and clean at 2 W for 10 s; each weighs 40 kg for four years."""
    devices = tuple(replace(d, embodied_kg=40.0, lifetime_years=4.0) for d in two_devices.devices)
    fleet = replace(two_devices, devices=devices)
    ledger = account(ONLY_FAST, fleet, INTENSITY, Accounting(reserved=reserved))
    assert ledger.loc[ledger["component"] == "idle", "energy_j"].sum() == idle_j
    embodied_g = ledger.loc[ledger["component"] == "embodied", "carbon_g"]
    assert embodied_g.tolist() == pytest.approx([40e3 * 10 / (4 * 365.25 * 86400)] * made)
    assert ledger.loc[ledger["component"] == "dynamic", "energy_j"].sum() == 40


def test_runs_of_one_powered_fleet_differ_by_what_they_add(two_devices: Fleet) -> None:
    """Whichever device works, idle power is that of both: the runs differ in dynamic energy only."""
    whole = Accounting(reserved="fleet")
    ways = [records([record(0, 0, "compute", name, 0.0, 5.0)], 10.0, (name,)) for name in ("fast", "clean")]
    fast, clean = (account(run, two_devices, INTENSITY, whole) for run in ways)
    idle = [each.loc[each["component"] == "idle", "carbon_g"].tolist() for each in (fast, clean)]
    assert idle[0] == idle[1]
    added = [each.loc[each["component"] == "dynamic", "carbon_g"].sum() for each in (fast, clean)]
    assert fast["carbon_g"].sum() - clean["carbon_g"].sum() == pytest.approx(added[0] - added[1])


@pytest.mark.parametrize(
    ("rule", "idle_intensity"),
    # Idle over [0, 10] with the change at 4, or over the tasks: fast 0 to 2, clean 3 to 8.
    [("full", {"fast": 420, "clean": 160}), ("proportional", {"fast": 600, "clean": 180})],
)
def test_the_intensity_is_that_of_the_time_in_which_energy_was_drawn(
    rule: str, idle_intensity: dict[str, float], two_devices: Fleet
) -> None:
    steps = Intensity(("fast", "clean"), np.array([0.0, 4.0]), np.array([[600.0, 300], [100, 200]]))
    ledger = account(TWO_STAGES, two_devices, steps, Accounting(rule))
    found = ledger.groupby(["component", "device"])["intensity_g_per_kwh"].mean()
    assert found["dynamic"].to_dict() == pytest.approx({"fast": 600, "clean": 180})
    assert found["network"].to_dict() == {"fast": 600, "clean": 100}
    assert found["idle"].to_dict() == pytest.approx(idle_intensity)


def test_full_attribution_is_active_power_while_busy_and_idle_power_else(two_devices: Fleet) -> None:
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting("full"))
    own = ledger[ledger["component"].isin(["dynamic", "idle"])].groupby("device")["energy_j"].sum()
    assert own["fast"] == 30 * 2 + 10 * 8
    assert own["clean"] == 12 * 5 + 2 * 5


def test_embodied_is_the_share_of_a_lifetime(two_devices: Fleet) -> None:
    year_s = 365.25 * 24 * 3600
    made = tuple(replace(d, embodied_kg=40.0, lifetime_years=4.0) for d in two_devices.devices)
    fleet = replace(two_devices, devices=made)
    run = replace(TWO_STAGES, window_s=year_s)
    ledger = account(run, fleet, INTENSITY, Accounting("marginal"))
    assert ledger.loc[ledger["component"] == "embodied", "carbon_g"].tolist() == pytest.approx([1e4, 1e4])
    assert known_components(run, fleet) == ("dynamic", "idle", "network", "embodied")


def test_components_with_unknown_coefficients_are_left_out(two_devices: Fleet) -> None:
    silent = replace(two_devices, links=(Link("lan", 1e6),))
    assert known_components(TWO_STAGES, two_devices) == ("dynamic", "idle", "network")
    assert known_components(TWO_STAGES, silent) == ("dynamic", "idle")
    ledger = account(TWO_STAGES, silent, INTENSITY, Accounting())
    assert "network" not in set(ledger["component"])
    half_known = (
        replace(two_devices.devices[0], embodied_kg=1.0, lifetime_years=1.0),
        two_devices.devices[1],
    )
    partly = replace(two_devices, devices=half_known)
    assert "embodied" not in known_components(TWO_STAGES, partly)
    assert "embodied" not in set(account(TWO_STAGES, partly, INTENSITY, Accounting())["component"])


def test_a_transfer_without_a_link_leaves_the_network_out(two_devices: Fleet) -> None:
    apart = replace(two_devices, links=())
    assert known_components(TWO_STAGES, apart) == ("dynamic", "idle")
    assert "network" not in set(account(TWO_STAGES, apart, INTENSITY, Accounting())["component"])


def test_a_device_that_is_not_in_the_fleet_is_refused(two_devices: Fleet) -> None:
    run = records([record(0, 0, "compute", "ghost", 0.0, 1.0)], 1.0, ())
    with pytest.raises(ConfigError, match="records: ghost is not in the fleet .it has fast, clean"):
        account(run, two_devices, INTENSITY, Accounting())


def test_the_boundary_names_the_devices_that_count() -> None:
    whole = boundary({}, Accounting(reserved="fleet"), {})
    assert "idle (idle power of all devices of the fleet over the whole run)" in whole
    assert "embodied (manufacture of all devices of the fleet, by the run's share" in whole
    assert "idle (idle power of the devices that ran a stage over the whole run)" in boundary(
        {}, Accounting(), {}
    )


def test_the_boundary_names_the_devices_whose_idle_power_is_assumed() -> None:
    """Where idle power counts; of many devices, the first."""
    names = ["a", "b", "c", "d", "e", "f", "g"]
    assert "over the whole run, taken as 0 W for a, b, c, d, e and 2 more)" in boundary(
        {}, Accounting(), {}, names
    )
    assert "idle (idle power while stages ran, taken as 0 W for a)" in boundary(
        {}, Accounting("proportional"), {}, names[:1]
    )
    assert "idle (none of the idle power)" in boundary({}, Accounting("marginal"), {}, names)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="accounting.reserved: must be one of used, fleet .reserved: 'all'"):
        Accounting(reserved="all")
    with pytest.raises(ConfigError, match="accounting.idle: must be one of marginal, proportional, full"):
        Accounting("none")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(run=runs(), rule=st.sampled_from(ATTRIBUTIONS), reserved=st.sampled_from(["used", "fleet"]))
def test_components_add_up_to_the_total(run: Records, rule: str, reserved: str, two_devices: Fleet) -> None:
    ledger = account(run, two_devices, INTENSITY, Accounting(rule, reserved=reserved))
    total = float(ledger["carbon_g"].sum())
    by_component = ledger.groupby("component")["carbon_g"].sum()
    assert set(by_component.index) <= set(known_components(run, two_devices))
    assert by_component.sum() == pytest.approx(total, rel=1e-12)
    joules = ledger["energy_j"] / 3.6e6 * ledger["intensity_g_per_kwh"] * ledger["pue"]
    assert float(joules.sum()) == pytest.approx(total, rel=1e-9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs())
def test_a_wider_rule_never_counts_less(run: Records, two_devices: Fleet) -> None:
    totals = [
        float(account(run, two_devices, INTENSITY, Accounting(rule))["carbon_g"].sum())
        for rule in ("marginal", "proportional", "full")
    ]
    # Rows that are 0 change the order in which a sum is rounded.
    assert all(less <= more * (1 + 1e-12) for less, more in pairwise(totals))


def test_accounting_leaves_the_records_alone(two_devices: Fleet) -> None:
    before = TWO_STAGES.table.copy()
    account(TWO_STAGES, two_devices, INTENSITY, Accounting())
    assert TWO_STAGES.table.equals(before)


def test_sums_have_no_intensity_where_no_energy_was_drawn(two_devices: Fleet) -> None:
    """Of a run without records, such as one that counts no idle power; its audit was refused."""
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting("marginal"))
    idle = ledger["component"] == "idle"
    assert (ledger.loc[idle, "energy_j"] == 0).all()
    summed = ledger.assign(intensity_g_per_kwh=ledger["intensity_g_per_kwh"].mask(idle))
    pd.testing.assert_frame_equal(checked_ledger(summed, two_devices), summed)
