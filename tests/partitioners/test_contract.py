"""The contract that every partitioner in conf/ keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.cost import predict
from pipeline.planning.problem import Partitioner, Problem
from tests.conftest import MakeProblem, choices, configured
from tests.partitioners.conftest import (
    FLEETS,
    need_bytes,
)


def outcome(partitioner: Partitioner, problem: Problem) -> tuple[Plan | None, str]:
    """A plan, or the reason why there is none."""
    try:
        return partitioner.partition(problem), ""
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize("compression", ["float32", "float16"])
@pytest.mark.parametrize("fleet", FLEETS)
@pytest.mark.parametrize("name", choices("partitioner"))
def test_contract(name: str, fleet: str, compression: str, make_problem: MakeProblem) -> None:
    """A plan covers the chain, on known devices that are connected and have room, or is refused in a line.

    It is the same each time, under the problem's compression, and nothing that was given is changed.
    """
    problem = replace(make_problem(FLEETS[fleet]), compression=compression)
    before = problem.profile.table.copy()
    intensity = dict(problem.intensity_g_per_kwh)
    partitioner: Partitioner = configured("partitioner", name)
    plan, reason = outcome(partitioner, problem)
    assert (plan, reason) == outcome(partitioner, problem)
    assert "\n" not in reason
    if plan is None:
        assert fleet != "roomy"
    else:
        assert plan.bounds[-1] == len(problem.graph)
        assert set(plan.devices) <= {*problem.fleet.by_name, AUTO}
        assert plan.compression == compression
        placed = [device for device in plan.devices if device != AUTO]
        for device in placed:
            assert need_bytes(problem, plan, device) <= problem.fleet.by_name[device].memory_bytes
        if len(placed) == plan.num_stages:
            assert np.isfinite(predict(problem, [plan]).latency_s[0])
    assert problem.profile.table.equals(before)
    assert problem.intensity_g_per_kwh == intensity
