"""Views of the fleet are those of the devices as they are, however long a scheduler did not look."""

from __future__ import annotations

import random

import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.plan import AUTO
from pipeline.domain.tasks import Task
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.device_state import DeviceState
from pipeline.execution.fleet_state import FleetState
from tests.execution.conftest import fleet


def backlog_s(device: DeviceState) -> float:
    return device.backlog_s


def tasks(device: DeviceState) -> float:
    return float(device.in_flight)


@pytest.mark.parametrize("forget_after", [1, 100])
def test_a_view_that_is_seldom_used_misses_no_change(
    monkeypatch: pytest.MonkeyPatch, forget_after: int
) -> None:
    monkeypatch.setattr("pipeline.execution.fleet_state.FORGET_AFTER", forget_after)
    draw, where = random.Random(0), fleet(*[1.0] * 5)
    seconds = {name: 0.1 + k / 64 for k, name in enumerate(where.by_name)}
    work = [StageDeployment(0, 0, AUTO, 1e6, 0, seconds, 0.0)]
    state = FleetState(where, work, Intensity.constant(dict.fromkeys(seconds, 100.0)))
    running: list[str] = []
    task = Task(0, 0, 0.1, 1e6, 0, None)
    for step in range(300):
        if running and draw.random() < 0.5:
            state.end(task, running.pop(draw.randrange(len(running))), 0.1)
        else:
            running.append(draw.choice(list(seconds)))
            state.begin(task, running[-1])
        for by in (backlog_s, tasks) if step % 20 == 0 else (backlog_s,):
            expected = sorted(range(5), key=lambda k: (by(state.in_order[k]), k))
            assert list(state.ranking(by, by).ascending()) == expected
        assert len(state._changes) < 5 * forget_after + 50  # plus the ends since the last begin
