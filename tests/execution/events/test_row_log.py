"""Rows handed on in parts are those of the whole run."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import Records
from pipeline.execution.backends.simulated import Simulated
from schedulers.round_robin import RoundRobin
from tests.conftest import MakeProblem, make_job
from tests.execution.conftest import fleet, poisson, varied


@pytest.mark.parametrize("devices", [("d0", "d1"), (AUTO, AUTO)])
def test_parts_handed_on_are_the_whole_and_nothing_is_kept(
    make_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...]
) -> None:
    """A fixed pipeline and event by event: each request whole in one part, parts of a bounded size."""
    monkeypatch.setattr("pipeline.execution.events.row_log.PART_ROWS", 200)
    problem = varied(make_problem(fleet(1.0, 0.5)), [0.8, 1, 1.5])
    workload = replace(poisson(20, 800), block=100)
    job = make_job(problem, Plan((0, 3, 6), devices), workload)
    parts: list[Records] = []
    rest = Simulated().run(replace(job, sink=parts.append), RoundRobin())
    assert rest.table.empty
    assert len(parts) > 5
    assert max(len(part.table) for part in parts) < 450
    whole = Simulated().run(job, RoundRobin())
    assert (rest.window_s, rest.reserved) == (whole.window_s, whole.reserved)
    assert sum(len(part.scheduling_s) for part in parts) == len(whole.scheduling_s)
    requests = [set(part.table["request"]) for part in parts]
    assert sum(map(len, requests)) == len(set.union(*requests))
    by = ["request", "end_s"]
    tables = [part.table.astype({"device": str}) for part in parts]
    together = pd.concat(tables).sort_values(by, ignore_index=True)
    expected = whole.table.astype({"device": str}).sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(together, expected, check_categorical=False)
