"""A block of requests at a time equals event by event."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.plan import Plan
from pipeline.execution.backends.fixed_pipeline import pipelined, served_s
from pipeline.execution.backends.simulated import Simulated, simulate_events
from pipeline.execution.deployment import deploy
from schedulers.round_robin import RoundRobin
from tests.conftest import MakeProblem, make_job
from tests.execution.conftest import ANEW, ARRIVALS, At, fleet, varied


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 3)), min_size=1, max_size=30), st.floats(0, 5))
def test_lindley_s_recursion(tasks: list[tuple[float, float]], free_s: float) -> None:
    ready_s, takes_s = (np.array(column) for column in zip(*sorted(tasks), strict=True))
    expected, end_s = [], free_s
    for ready, takes in zip(ready_s, takes_s, strict=True):
        end_s = max(ready, end_s) + takes
        expected.append(end_s)
    assert served_s(ready_s, takes_s, free_s) == pytest.approx(expected)


@ANEW
@given(ARRIVALS, st.booleans(), st.integers(1, 9), st.integers(0, 5))
def test_a_pipeline_at_a_time_equals_event_by_event(
    make_problem: MakeProblem, times_s: list[float], from_source: bool, block: int, seed: int
) -> None:
    problem = varied(make_problem(fleet(1.0, 0.5, 0.7, source="d1" if from_source else None)), [0.8, 1, 1.5])
    job = make_job(problem, Plan((0, 2, 4, 6), ("d2", "d0", "d1")), At(times_s, block=block))
    work, simulated = deploy(job.services), Simulated(seed=seed)
    at_a_time = pipelined(job, work, seed=simulated.seed, max_requests=simulated.max_requests)
    assert at_a_time is not None
    tables = [at_a_time.table, simulate_events(simulated, job, RoundRobin(), work).table]
    one, other = (t.sort_values(["request", "end_s", "kind"]).reset_index(drop=True) for t in tables)
    pd.testing.assert_frame_equal(one, other, check_categorical=False, check_dtype=False)
