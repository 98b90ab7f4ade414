"""Whether a table that was read can be the ledger of a run. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import LEDGER_COLUMNS, Floats, account, require_possible
from pipeline.domain.checks import ROUNDING, ConfigError, require
from pipeline.domain.energy import LINK_PUE, carbon_g
from pipeline.domain.fleet import Fleet
from pipeline.domain.number_columns import with_numbers
from pipeline.domain.records import Records


def checked_ledger(ledger: pd.DataFrame, fleet: Fleet) -> pd.DataFrame:
    """The table, its figures as numbers, if it may be the ledger of a run of this fleet.

    Raises ConfigError for a missing column, an unknown device, component or link, an impossible figure, and a
    PUE or a fixed intensity that is not the fleet's.
    """
    missing = [name for name in LEDGER_COLUMNS if name not in ledger]
    require(not missing, f"ledger: without the column {', '.join(missing)}")
    ledger = with_numbers(
        "ledger", ledger, ("request", "stage", "energy_j", "intensity_g_per_kwh", "pue", "carbon_g")
    )
    links = ["", *(link.name for link in fleet.links)]
    for column, known in (("device", [*fleet.by_name]), ("component", [*COMPONENTS]), ("link", links)):
        strange = sorted({*ledger[column].astype(str)} - {*known})
        require(
            not strange,
            f"ledger: {column} {', '.join(strange)[:60]} is unknown (expected {', '.join(known)})",
        )
    for column in ("request", "stage"):
        numbers = _floats(ledger, column)
        whole = bool(np.all((numbers >= -1) & (numbers <= 1e15) & (numbers % 1 == 0)))
        require(whole, f"ledger: {column} must be a whole number >= -1 in every row")
    _require_figures(ledger, fleet)
    return ledger


def _require_figures(ledger: pd.DataFrame, fleet: Fleet) -> None:
    energy_j, grams, intensity, pue = (
        _floats(ledger, name) for name in ("energy_j", "carbon_g", "intensity_g_per_kwh", "pue")
    )
    component, device = (ledger[name].astype(str) for name in ("component", "device"))
    made, moved = ((component == name).to_numpy() for name in ("embodied", "network"))
    drawn = ~made & (energy_j > 0)  # the sums of a run without records have no intensity where none was
    require_possible(energy=energy_j, carbon=grams)
    require_possible(intensity=intensity[drawn])
    require_possible(PUE=pue[~made])
    require(bool(np.all(energy_j[made] == 0)), "ledger: energy_j must be 0 in every embodied row")
    own_pue = np.where(
        moved, LINK_PUE, device.map({d.name: d.pue for d in fleet.devices}).to_numpy(dtype=float)
    )
    fixed = device.map({d.name: d.intensity_g_per_kwh for d in fleet.devices}).to_numpy(dtype=float)
    drawn_g = carbon_g(energy_j, intensity, pue)
    for what, given, expected, rows in (
        ("pue must be the fleet's", pue, own_pue, ~made),
        ("intensity_g_per_kwh must be the fleet's", intensity, fixed, drawn & np.isfinite(fixed)),
        ("carbon_g must be energy x intensity x PUE", grams, drawn_g, drawn),
        ("carbon_g must be 0 without energy", grams, np.zeros_like(grams), ~made & ~drawn),
    ):
        same = np.isclose(given[rows], expected[rows], rtol=ROUNDING, atol=0)
        require(bool(np.all(same)), f"ledger: {what} in every row")


def require_within(ledger: pd.DataFrame, window_s: float, fleet: Fleet) -> None:
    """Raise ConfigError naming a device that draws more than its power allows in the run's window.

    ledger: a `checked_ledger` of a run that kept no records.
    """
    own = ledger[ledger["component"].astype(str).isin(("dynamic", "idle"))]
    spent_j = _by_device(own, "energy_j")
    for name, component, energy_j in spent_j.reset_index().itertuples(index=False, name=None):
        device = fleet.by_name[str(name)]
        power_w = device.idle_w if component == "idle" else device.above_idle_w
        most_j = power_w * window_s * (1 + ROUNDING)
        limit = f"{power_w:g} W in {window_s:g} s are at most {most_j!r}"
        require(energy_j <= most_j, f"ledger: {component} of {name}: energy_j is {energy_j!r}, but {limit}")


def require_of_records(ledger: pd.DataFrame, records: Records, fleet: Fleet, accounting: Accounting) -> None:
    """Raise ConfigError naming a device whose energy or embodied carbon does not follow from the records.

    ledger: a `checked_ledger` of the run.
    """
    any_intensity = Intensity.constant(dict.fromkeys(fleet.by_name, 0.0))
    expected = account(records, fleet, any_intensity, accounting)
    for column, of in (("energy_j", COMPONENTS), ("carbon_g", ("embodied",))):
        given, right = (
            _by_device(table[table["component"].isin(of)], column) for table in (ledger, expected)
        )
        both = pd.DataFrame({"given": given, "right": right}).fillna(0.0)
        wrong = both[~np.isclose(both["given"], both["right"], rtol=ROUNDING, atol=0)]
        for (device, component), given_value, right_value in zip(
            wrong.index, wrong["given"], wrong["right"], strict=True
        ):
            figures = f"{column} is {given_value!r}, but {right_value!r} by the records"
            raise ConfigError(f"ledger: {component} of {device}: {figures}")


def _by_device(ledger: pd.DataFrame, column: str) -> pd.Series:
    """The sum of a column by device and component."""
    keys = [ledger[name].astype(str) for name in ("device", "component")]
    return ledger[column].astype(float).groupby(keys).sum()


def _floats(table: pd.DataFrame, column: str) -> Floats:
    """(rows,): a column of numbers."""
    return table[column].to_numpy(dtype=float, na_value=np.nan)
