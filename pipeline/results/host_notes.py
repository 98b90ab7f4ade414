"""What a person should know of the host before they compare a run: one line each. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.domain.profile import MAX_INTERVAL, Measurement
from pipeline.domain.records import Records
from pipeline.execution.job import Service
from pipeline.results.units import counted

NOTED_DRIFT = 0.1
"""Change of this host's speed since the profile, above which a run says so."""


def host_notes(records: Records, services: Sequence[Service]) -> list[str]:
    """Lines on a profile that is not steady, and on a host that is slower or quicker than it was."""
    notes = []
    for service in services:
        name, measured = service.problem.graph.name, service.problem.profile.measured
        if measured is not None and not measured.steady:
            notes.append(_unsteady(name, measured))
    drift = records.host_drift
    if drift is not None and abs(drift - 1) > NOTED_DRIFT:
        measured = services[0].problem.profile.measured
        when = "" if measured is None else f" ({measured.utc}, load {measured.load_per_core:.1f} a core)"
        notes.append(
            f"this host is {'slower' if drift > 1 else 'quicker'} than when it was profiled: it takes "
            f"{drift:.2f} times as long{when}; the times are divided "
            "by that, which is less exact than a new profile"
        )
    return notes


def _unsteady(name: str, measured: Measurement) -> str:
    passes = counted(measured.passes, "pass", "passes")
    if math.isinf(measured.interval):
        return (
            f"the profile of {name} has no interval: {passes} in fewer than three processes cannot show how "
            "steady its time is; measure again with more profiler.repeats"
        )
    return (
        f"the profile of {name} is not steady: its time is known to ±{measured.interval:.1%} after {passes} "
        f"(expected: ±{MAX_INTERVAL:.0%}); measure again on a quieter host"
    )
