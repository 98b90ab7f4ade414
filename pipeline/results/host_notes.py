"""What a person should know of the host before they compare a run: one line each. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.profile import MAX_INTERVAL
from pipeline.domain.records import Records
from pipeline.execution.job import Service

NOTED_DRIFT = 0.1
"""Change of this host's speed since the profile, above which a run says so."""
NOTED_LATE = 0.05
"""Share of a run for which other work delayed stages, above which a run says so."""


def host_notes(records: Records, services: Sequence[Service]) -> list[str]:
    """Lines on a profile that is not steady, and on a host that is slower, quicker or busier than it was."""
    notes = []
    for service in services:
        name, measured = service.problem.graph.name, service.problem.profile.measured
        if measured is not None and not measured.steady:
            notes.append(
                f"the profile of {name} is not steady: its time is known to ±{measured.interval:.1%} after"
                f" {measured.passes} passes (expected: ±{MAX_INTERVAL:.0%}); measure again on a quieter host"
            )
    drift, late = records.host_drift, records.host_late
    if drift is not None and abs(drift - 1) > NOTED_DRIFT:
        measured = services[0].problem.profile.measured
        when = "" if measured is None else f" ({measured.utc}, load {measured.load_per_core:.1f} a core)"
        notes.append(
            f"this host takes {drift:.2f} times as long as when it was profiled{when}; the times are divided "
            "by that, which is less exact than a new profile"
        )
    if late is not None and late > NOTED_LATE:
        notes.append(
            f"other work on this host delayed stages for {late:.0%} of the run, and latencies contain that: "
            "repeat the run on a quieter host"
        )
    return notes
