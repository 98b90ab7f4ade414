"""The coefficients of a ledger: their ranges, and the resulting bounds of a total. Pure.

A coefficient is one number for a whole run, such as a device's power or a zone's factor, so its error is the
same in every row and does not average out. The bounds hold for every combination of coefficients within their
ranges. They are not a confidence interval, and need no assumption about the distribution of the errors.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.carbon.accounting import Accounting
from pipeline.domain.checks import require
from pipeline.domain.fleet import Device, Fleet, Link, Range

Floats = npt.NDArray[np.float64]

PARTS = ("active", "idle", "embodied")
"""Parts of a device's grams besides its links', each in proportion to one of its coefficients."""
MOST_CELLS = 50_000_000
"""Most devices x links, 0.4 GB: 7,000 of each."""
MAX_LINKS = 10
"""Most links for which all corners are tried; with more, each device is given its own error of each link."""


def known(fleet: Fleet, accounting: Accounting) -> bool:
    """Whether totals have bounds: any range is given, and those of powers can be told from a ledger."""
    owners: list[Device | Link] = [*fleet.devices, *fleet.links]
    ranged = bool(accounting.ranges) or any(owner.ranges for owner in owners)
    return ranged and not unbounded(fleet, accounting)


def unbounded(fleet: Fleet, accounting: Accounting) -> list[str]:
    """The devices whose powers are equal and have ranges, by name.

    Their ledger has no dynamic energy, so it does not tell for how long they were busy, and what other powers
    would have drawn in that time.
    """
    return [
        device.name
        for device in fleet.devices
        if 0 < device.active_w == device.idle_w
        and any(relative(device, name, accounting) != (1.0, 1.0) for name in ("active_w", "idle_w"))
    ]


def relative(owner: Device | Link, name: str, accounting: Accounting) -> Range:
    """(low, high) of a coefficient ÷ its value: from the owner's range, else from that of the accounting."""
    value = getattr(owner, name)
    if name not in owner.ranges:
        low, high = accounting.ranges.get(name, (1.0, 1.0))
        return low, high
    low, high = owner.ranges[name]
    return (low / value, high / value) if value else (1.0, 1.0)


def table(fleet: Fleet, accounting: Accounting, intensity_g_per_kwh: Mapping[str, float]) -> pd.DataFrame:
    """Every coefficient of a fleet that has a value, one row each.

    Columns: owner (device or link), coefficient, low, value, high, range (its origin), source.
    intensity_g_per_kwh: its mean over the run, by device.
    """
    rows = []
    owners: list[Device | Link] = [*fleet.devices, *fleet.links]
    for owner in owners:
        for name in owner.COEFFICIENTS:
            value = getattr(owner, name)
            if name == "intensity_g_per_kwh":
                value = intensity_g_per_kwh.get(owner.name, value)
            if value is None:
                continue
            low, high = relative(owner, name, accounting)
            source = owner.sources.get(name, "the fleet's file")
            if name == "intensity_g_per_kwh" and isinstance(owner, Device) and owner.zone is not None:
                source = f"grid, zone {owner.zone}" if owner.intensity_g_per_kwh is None else source
            ranged = (
                "its own"
                if name in owner.ranges
                else "accounting.ranges"
                if name in accounting.ranges
                else "none"
            )
            rows.append((owner.name, name, value * low, value, value * high, ranged, source))
    return pd.DataFrame(rows, columns=["owner", "coefficient", "low", "value", "high", "range", "source"])


def parts(ledger: pd.DataFrame, fleet: Fleet) -> pd.DataFrame:
    """Grams of each device in proportion to its active power, idle power, manufacture and each link's energy.

    ledger: as `pipeline.carbon.ledger.account` returns it. The table has one row a device, indexed by its
    name, and the columns PARTS and `link NAME`. All cells add up to the ledger's total. Dynamic energy is
    (active_w - idle_w) * busy seconds, so its part in proportion to idle_w is negative. A device whose
    active_w equals its idle_w has no dynamic energy.
    """
    by = ["device", "component", "link"]
    sums: dict[Any, float] = ledger.groupby(by, observed=True)["carbon_g"].sum().to_dict()
    columns = [*PARTS, *(f"link {link.name}" for link in fleet.links)]
    rows = {name: row for row, name in enumerate(fleet.by_name)}
    places = {name: place for place, name in enumerate(columns)}
    cells = len(rows) * len(columns)
    require(
        cells <= MOST_CELLS,
        f"fleet: {cells} pairs of devices and links have no bounds (at most {MOST_CELLS})",
    )
    found = np.zeros((len(rows), len(columns)))
    for (name, component, link), grams in sums.items():
        device, grams_of = fleet.by_name[name], found[rows[name]]
        if component != "dynamic":
            column = f"link {link}" if component == "network" else component
            grams_of[places[column]] += grams
        elif grams:
            above_w = device.active_w - device.idle_w
            grams_of[places["active"]] += grams * device.active_w / above_w
            grams_of[places["idle"]] -= grams * device.idle_w / above_w
    return pd.DataFrame(found, index=[*rows], columns=columns)


def bounds(parts: pd.DataFrame, fleet: Fleet, accounting: Accounting) -> tuple[float, float]:
    """The minimum and maximum of the sum of `parts`, with each coefficient anywhere in its range.

    parts: a table from `parts`, or the difference of two runs' tables, whose errors are then shared and whose
    values may be negative. A device's grams are intensity * (pue * (active + idle) + links) + embodied /
    lifetime, linear in each coefficient, so the extremes lie at corners. The sign of a value selects the
    corner of a coefficient that belongs to one device; devices share those of links, so all corners of links
    are tried.
    """
    devices = [fleet.by_name[str(name)] for name in parts.index]
    links = [link for link in fleet.links if (parts.get(f"link {link.name}", pd.Series(0.0)) != 0).any()]

    def ends(name: str) -> Floats:
        return np.array([relative(device, name, accounting) for device in devices]).reshape(-1, 2)

    powers = {"active": ends("active_w"), "idle": ends("idle_w")}
    by_part = [np.sort(parts[[part]].to_numpy() * shares, axis=1) for part, shares in powers.items()]
    drawn = _times(np.sum(by_part, axis=0), ends("pue"))
    moved = parts[[f"link {link.name}" for link in links]].to_numpy(dtype=float)
    of_links = np.array([relative(link, "energy_j_per_byte", accounting) for link in links]).reshape(-1, 2)
    price = ends("intensity_g_per_kwh")
    made = ends("embodied_kg") / ends("lifetime_years")[:, ::-1]
    embodied = _times(parts[["embodied"]].to_numpy() * [1, 1], made).sum(axis=0)
    if len(links) > MAX_LINKS:
        apart = np.zeros((len(moved), 2))
        for column, ends_of_link in zip(moved.T, of_links, strict=True):
            apart += np.sort(column[:, None] * ends_of_link, axis=1)
        low, high = (_times(drawn + apart, price).sum(axis=0) + embodied).tolist()
        return low, high
    totals = [
        _times(drawn + (moved @ np.array(corner, dtype=float))[:, None], price).sum(axis=0) + embodied
        for corner in itertools.product(*of_links.tolist())
    ]
    return float(min(low for low, _ in totals)), float(max(high for _, high in totals))


def run_bounds(ledger: pd.DataFrame, fleet: Fleet, accounting: Accounting) -> tuple[float, float]:
    """The bounds of a run's total in grams, never below 0: no device draws less when busy than when idle."""
    low, high = bounds(parts(ledger, fleet), fleet, accounting)
    return max(low, 0.0), high


def _times(values: Floats, factors: Floats) -> Floats:
    """Products of intervals (n, 2) with intervals (n, 2) of non-negative factors."""
    low = np.where(values[:, 0] >= 0, values[:, 0] * factors[:, 0], values[:, 0] * factors[:, 1])
    high = np.where(values[:, 1] >= 0, values[:, 1] * factors[:, 1], values[:, 1] * factors[:, 0])
    return np.stack([low, high], axis=1)
