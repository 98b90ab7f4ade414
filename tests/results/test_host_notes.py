"""What a run says of its host: nothing of a quiet one, a line for each thing that blurs figures."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.domain.profile import Measurement
from pipeline.execution.job import Service
from pipeline.results.host_notes import host_notes
from tests.conftest import MakeProblem, record, records

STEADY = Measurement("2026-05-01T10:00:00+00:00", "x86", load_per_core=0.5, interval=0.03, passes=20)
RUN = replace(records([record(0, 0, "compute", "fast", 0.0, 1.0)], 1.0), host_drift=1.1)


@pytest.mark.parametrize(
    ("drift", "interval", "said"),
    [
        (1.09, 0.03, []),
        (1.09, 0.051, ["the profile of tiny is not steady: its time is known to ±5.1% after 20 passes"]),
        (1.09, math.inf, ["the profile of tiny has no interval: 20 passes in fewer than three processes"]),
        (
            0.85,
            0.03,
            ["is quicker than when it was profiled: it takes 0.85 times as long (2026-05-01T10:00:00+00:00"],
        ),
        (1.3, 0.051, ["the profile of tiny is not steady", "takes 1.30 times as long"]),
        (None, 0.03, []),
    ],
)
def test_a_line_for_each_thing(
    drift: float | None, interval: float, said: list[str], make_problem: MakeProblem, two_devices: Fleet
) -> None:
    problem = make_problem(two_devices)
    profile = replace(problem.profile, measured=replace(STEADY, interval=interval))
    service = Service(replace(problem, profile=profile), Plan((0, 6), ("fast",)))
    notes = host_notes(replace(RUN, host_drift=drift), [service])
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))
