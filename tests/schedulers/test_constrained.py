"""Least carbon within the deadline, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Assign
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.fleet_state import FleetState
from schedulers.constrained import Constrained
from tests.conftest import configured
from tests.schedulers.conftest import HONEST, TASK, cached, paper_fleet, state_of


def test_constrained_by_hand() -> None:
    """node-green is the greenest and takes 50 ms: two are done in 120 ms with a tenth left, not three."""
    state = state_of(paper_fleet(), HONEST)
    constrained, task = cached("constrained"), TASK._replace(deadline_s=0.12)
    for expected in ("node-green", "node-green", "node-high"):
        # 620 * 140 W * 20 ms is more than 530 * 84 * 33.3 ms on node-medium, which is idle.
        decision = constrained.decide(task, state)
        expected = "node-medium" if expected == "node-high" else expected
        assert decision == Assign(expected)
        state.begin(task, expected)
    # Nobody is done within 10 ms: the least late is node-high.
    assert constrained.decide(TASK._replace(deadline_s=0.01), state) == Assign("node-high")
    assert configured("scheduler", "constrained", slo_s=0.01).decide(TASK, state) == Assign("node-high")
    assert constrained.decide(TASK, state) == Assign("node-green")
    with pytest.raises(ConfigError, match="slo_s must be a number > 0"):
        Constrained(slo_s=0)
    # The second is done after 100 ms: a quarter of that is not left of 120.
    state.end(task, "node-green", 0.05)
    for margin, device in ((0.1, "node-green"), (0.25, "node-medium")):
        assert Constrained(margin=margin).decide(task, state) == Assign(device)


def test_an_intensity_that_changes_changes_the_choice() -> None:
    fleet = paper_fleet()
    steps = Intensity(
        tuple(fleet.by_name), np.array([0.0, 3600.0]), np.array([[620.0, 620], [530, 530], [380, 3800]])
    )
    work = [StageDeployment(0, 0, AUTO, 1e6, 0, dict.fromkeys(fleet.by_name, 0.1), 0.0)]
    state = FleetState(fleet, work, steps)
    for now_s, device in ((0.0, "node-green"), (3599.0, "node-green"), (3600.0, "node-medium")):
        state.advance(now_s)
        assert [cached(name).decide(TASK, state) for name in ("greenest", "constrained")] == [
            Assign(device)
        ] * 2
