"""How small and how large the change of carbon can be within the coefficients' ranges. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.carbon import coefficients
from pipeline.domain.fleet import Fleet
from pipeline.results.comparison.side import Side


def change_bounds(a: Side, b: Side) -> tuple[float, float] | None:
    """The least and the most that B's carbon per inference minus A's can be, in grams.

    Every coefficient may lie anywhere in its range; a device that is in both fleets has the same errors in
    both. None where a side is published or has no ranges, or where ranges or links of the two differ.
    """
    if a.fleet is None or b.fleet is None or a.accounting is None or b.accounting is None:
        return None
    if not (coefficients.known(a.fleet, a.accounting) and coefficients.known(b.fleet, b.accounting)):
        return None
    assert a.parts is not None
    assert b.parts is not None
    if a.accounting.ranges != b.accounting.ranges or a.fleet.links != b.fleet.links:
        return None
    names = _names_apart(a.fleet, b.fleet)
    others = [replace(d, name=names[d.name]) for d in b.fleet.devices if names[d.name] != d.name]
    # The bounds do not depend on which devices a link joins, so those of A's names will do.
    fleet = Fleet("both", (*a.fleet.devices, *others), a.fleet.links)
    difference = b.parts.rename(index=names).sub(a.parts, fill_value=0.0)
    return coefficients.bounds(difference.loc[list(fleet.by_name)], fleet, a.accounting)


def _names_apart(a: Fleet, b: Fleet) -> dict[str, str]:
    """For each device of B, by its name: a name that no different device of A or B has."""
    longer_than_all = "_" * (1 + max(len(name) for name in {*a.by_name, *b.by_name}))
    return {
        device.name: device.name if device == a.by_name.get(device.name) else device.name + longer_than_all
        for device in b.devices
    }
