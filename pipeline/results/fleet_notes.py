"""What a fleet's file leaves open and a run assumes: one line for each figure. Pure."""

from __future__ import annotations

from pipeline.domain.checks import listed
from pipeline.domain.fleet import Device, Fleet


def fleet_notes(fleet: Fleet) -> list[str]:
    """Lines on devices whose config states no idle power, and on those whose config states no speed."""
    notes = []
    if idle := fleet.without_idle_w:
        notes.append(
            f"the fleet {fleet.name!r} has no idle_w for {listed(idle)}: taken as 0 W, so that all of "
            "active_w counts as dynamic power; set fleet.devices.NAME.idle_w (0 where that is meant)"
        )
    if quick := fleet.without_speed:
        core = "this host" if fleet.core_latency_s is None else "the fleet's core_latency_s"
        notes.append(
            f"the fleet {fleet.name!r} has no {', '.join(Device.SPEEDS[:-1])} or {Device.SPEEDS[-1]} for "
            f"{listed(quick)}: taken as one core of {core}; set one of them in fleet.devices.NAME "
            f"({Device.SPEEDS[-1]}: 1 where that is meant)"
        )
    return notes
