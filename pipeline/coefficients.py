"""The coefficients that a ledger rests on: how low and how high each may be, and its totals with them. Pure.

A coefficient is one number for a whole run, such as a device's power or a zone's factor, so its error is the
same in every row and does not average out. Bounds are those of the box: every coefficient anywhere in its
range. They are no confidence interval, and hold whatever the errors' distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain import Device, Fleet, Link, Range
from pipeline.ledger import Accounting

Floats = npt.NDArray[np.float64]

PARTS = ("active", "idle", "network", "embodied")
"""What a device's grams are made of, each in proportion to a coefficient of its own."""


def known(fleet: Fleet, accounting: Accounting) -> bool:
    """Whether any range is given at all; without one there are no bounds to tell."""
    owners: list[Device | Link] = [*fleet.devices, *fleet.links]
    return bool(accounting.ranges) or any(owner.ranges for owner in owners)


def relative(owner: Device | Link, name: str, accounting: Accounting) -> Range:
    """How low and how high a coefficient may be ÷ its value: its own range, else the accounting's share."""
    value = getattr(owner, name)
    if name not in owner.ranges:
        low, high = accounting.ranges.get(name, (1.0, 1.0))
        return low, high
    low, high = owner.ranges[name]
    return (low / value, high / value) if value else (1.0, 1.0)


def table(fleet: Fleet, accounting: Accounting, intensity_g_per_kwh: Mapping[str, float]) -> pd.DataFrame:
    """Every coefficient of a fleet: whose, low, value, high, and its source, which may be unknown.

    intensity_g_per_kwh: by device, its mean over the run.
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
            ranged = "its own" if name in owner.ranges else "accounting.ranges"
            rows.append((owner.name, name, value * low, value, value * high, ranged, source))
    return pd.DataFrame(rows, columns=["owner", "coefficient", "low", "value", "high", "range", "source"])


def parts(ledger: pd.DataFrame, fleet: Fleet) -> pd.DataFrame:
    """Grams of each device in proportion to its active power, idle power, links and manufacture (PARTS).

    They add up to the ledger's total. Dynamic energy is that of active_w - idle_w, so that its share of
    idle_w is negative: what a busy device does not draw as an idle one.
    """
    sums: dict[Any, float] = (
        ledger.groupby(["device", "component"], observed=True)["carbon_g"].sum().to_dict()
    )
    found = {name: dict.fromkeys(PARTS, 0.0) for name in fleet.by_name}
    for (name, component), grams in sums.items():
        device, own = fleet.by_name[name], found[name]
        if component != "dynamic":
            own[component] += grams
        elif grams:
            above_w = device.active_w - device.idle_w
            own["active"] += grams * device.active_w / above_w
            own["idle"] -= grams * device.idle_w / above_w
    return pd.DataFrame.from_dict(found, orient="index", columns=list(PARTS))


def bounds(parts: pd.DataFrame, fleet: Fleet, accounting: Accounting) -> tuple[float, float]:
    """The least and the most that the sum of `parts` can be, wherever each coefficient lies in its range.

    For the parts of a run, or for the difference of two runs' parts, whose errors are then shared: signs
    may differ. A device's grams are price * (active + idle + network) + embodied / lifetime, each linear in
    a coefficient of its own, so that the ends are at corners that can be told by sign.
    """
    devices = [fleet.by_name[str(name)] for name in parts.index]

    def ends(name: str) -> Floats:
        return np.array([relative(device, name, accounting) for device in devices]).reshape(-1, 2)

    links = np.array([_links(device, fleet, accounting) for device in devices]).reshape(-1, 2)
    factors = {"active": ends("active_w"), "idle": ends("idle_w"), "network": links}
    drawn = [np.sort(parts[[part]].to_numpy() * own, axis=1) for part, own in factors.items()]
    price = ends("intensity_g_per_kwh") * ends("pue")
    made = ends("embodied_kg") / ends("lifetime_years")[:, ::-1]
    both = _times(np.sum(drawn, axis=0), price) + _times(parts[["embodied"]].to_numpy() * [1, 1], made)
    low, high = both.sum(axis=0).tolist()
    return low, high


def _times(values: Floats, factors: Floats) -> Floats:
    """Products of intervals (n, 2) with intervals of what is not negative."""
    low = np.where(values[:, 0] >= 0, values[:, 0] * factors[:, 0], values[:, 0] * factors[:, 1])
    high = np.where(values[:, 1] >= 0, values[:, 1] * factors[:, 1], values[:, 1] * factors[:, 0])
    return np.stack([low, high], axis=1)


def _links(device: Device, fleet: Fleet, accounting: Accounting) -> Range:
    """Of the links that may end at a device, the widest."""
    ranges = [
        relative(link, "energy_j_per_byte", accounting)
        for link in fleet.links
        if link.between is None or device.name in link.between
    ]
    return min((low for low, _ in ranges), default=1.0), max((high for _, high in ranges), default=1.0)
