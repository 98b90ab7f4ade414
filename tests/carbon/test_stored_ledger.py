"""A ledger that was read: of a fleet, of possible figures, and of the run's records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.ledger import account
from pipeline.carbon.stored_ledger import checked_ledger, require_of_records, require_within
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from tests.conftest import INTENSITY, TWO_STAGES


@pytest.mark.parametrize(
    ("column", "value"),
    [("energy_j", 1e300), ("carbon_g", 1e19), ("intensity_g_per_kwh", 2001.0), ("pue", 0.5), ("pue", 1e300)],
)
def test_a_ledger_of_impossible_figures_is_refused(column: str, value: float, two_devices: Fleet) -> None:
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting())
    name = {"pue": "PUE"}.get(column, column.split("_")[0])
    with pytest.raises(ConfigError, match=f"^ledger: {name} must be a number >= . and at most "):
        checked_ledger(ledger.assign(**{column: value}), two_devices)


@pytest.mark.parametrize("column", ["energy_j", "carbon_g"])
def test_a_row_whose_carbon_is_not_energy_x_intensity_x_pue_is_refused(
    column: str, two_devices: Fleet
) -> None:
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting())
    ledger[column] = ledger[column].where(ledger.index > 0, ledger[column] * 1.01)
    with pytest.raises(ConfigError, match="^ledger: carbon_g must be energy x intensity x PUE in every row$"):
        checked_ledger(ledger, two_devices)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stage": None}, "stage must be a whole number >= -1 in every row"),
        ({"request": 0.5}, "request must be a whole number"),
        ({"energy_j": "1"}, "energy_j must be a number in every row"),
        ({"link": "evil"}, "link evil is unknown"),
        ({"pue": 1.5 * 1.01, "carbon_g": None}, "pue must be the fleet's in every row"),
        ({"intensity_g_per_kwh": 599.0, "carbon_g": None}, "intensity_g_per_kwh must be the fleet's"),
        ({"energy_j": 0.0}, "carbon_g must be 0 without energy"),
        ({"component": "embodied"}, "energy_j must be 0 in every embodied row"),
    ],
)
def test_a_row_that_no_run_writes_is_refused(
    changes: dict[str, object], complaint: str, two_devices: Fleet
) -> None:
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting())
    ledger = ledger.astype({"link": str, "component": str, "device": str})
    for column, value in changes.items():
        if value is None and column == "carbon_g":  # as it follows from the others
            value = ledger["energy_j"] / 3.6e6 * ledger["intensity_g_per_kwh"] * ledger["pue"]
        ledger[column] = ledger[column].astype(object).where(ledger.index > 0, value)
    with pytest.raises(ConfigError, match=f"^ledger: {complaint}"):
        checked_ledger(ledger, two_devices)


def test_energy_and_embodied_carbon_are_those_of_the_records(two_devices: Fleet) -> None:
    made = replace(
        two_devices,
        devices=tuple(replace(d, embodied_kg=50.0, lifetime_years=5.0) for d in two_devices.devices),
    )
    ledger = account(TWO_STAGES, made, INTENSITY, Accounting())
    require_of_records(ledger, TWO_STAGES, made, Accounting())
    embodied, drawn = (ledger["component"] == "embodied").to_numpy(), ledger["energy_j"] > 0
    more = ledger["energy_j"].where(~drawn, ledger["energy_j"] * 1.01)
    with pytest.raises(ConfigError, match="^ledger: dynamic of .*: energy_j is .*, but .* by the records$"):
        require_of_records(ledger.assign(energy_j=more), TWO_STAGES, made, Accounting())
    twice = ledger["carbon_g"].where(~embodied, 2 * ledger["carbon_g"])
    with pytest.raises(ConfigError, match="^ledger: embodied of .*: carbon_g is "):
        require_of_records(ledger.assign(carbon_g=twice), TWO_STAGES, made, Accounting())
    with pytest.raises(ConfigError, match="^ledger: idle of .*: energy_j is "):
        require_of_records(ledger[ledger["component"] != "idle"], TWO_STAGES, made, Accounting())
    ghosts = replace(TWO_STAGES, reserved=("fast", "clean", "ghost"))
    with pytest.raises(ConfigError, match="^records: ghost is not in the fleet"):
        require_of_records(ledger, ghosts, made, Accounting(reserved="fleet"))


def test_no_device_draws_more_than_its_power_in_the_window(two_devices: Fleet) -> None:
    """Idle 10 W and 20 W above it, for 10 s."""
    ledger = account(TWO_STAGES, two_devices, INTENSITY, Accounting("full"))
    require_within(ledger, 10.0, two_devices)
    for component, most_j in (("dynamic", 200.0), ("idle", 100.0)):
        rows = ledger[(ledger["device"] == "fast") & (ledger["component"] == component)].head(1)
        require_within(rows.assign(energy_j=most_j), 10.0, two_devices)
        with pytest.raises(
            ConfigError, match=f"^ledger: {component} of fast: energy_j is {most_j + 1}, but "
        ):
            require_within(rows.assign(energy_j=most_j + 1), 10.0, two_devices)
