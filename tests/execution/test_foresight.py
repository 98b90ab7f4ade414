"""What the state knows of the intensity: as long as the run lasts, and as far as a deadline."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import FORESIGHT_S, Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Assign, Task, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.deployment import StageDeployment
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.hindsight.oracle import regret
from pipeline.execution.workloads.closed_loop import Closed
from tests.carbon.conftest import NOW, trace
from tests.conftest import MakeProblem, configured, make_job

FLEET = Fleet("two", tuple(Device(z, 1e9, active_w=36, speed=1e-4, zone=z) for z in "AB"))
"""The tiny model takes 215 s on either device."""
HOURS_A, HOURS_B = [100, 100, 100, 900, 900, 900, 100, 50], [300] * 8


def hourly(path: Path) -> Intensity:
    """A is the cleaner zone until 03:00 and from 06:00 on; both end at 08:00."""
    rows = [
        f"{zone},2030-01-01T{hour:02}:00Z,{value}"
        for zone, values in (("A", HOURS_A), ("B", HOURS_B))
        for hour, value in enumerate(values)
    ]
    return Intensity.of(FLEET, trace(path, "\n".join(["zone,utc,g", *rows])), NOW)


def test_a_closed_loop_sees_every_hour(make_problem: MakeProblem, tmp_path: Path) -> None:
    """110 requests of 215 s take six hours and a half; each is where its hour is cleaner."""
    problem = make_problem(FLEET)
    job = make_job(problem, Plan((0, 6), (AUTO,)), Closed(110), intensity=hourly(tmp_path))
    records = Simulated().run(job, configured("scheduler", "greenest"))
    begin_h = records.table["queued_s"] / 3600
    assert ((records.table["device"] == "B") == ((begin_h >= 3) & (begin_h < 6))).all()
    ledger = account(records, FLEET, job.intensity.whole(records.end_s), Accounting("marginal"))
    found = regret(job, records, ledger)
    assert found is not None
    assert found >= -1e-9


def test_who_defers_sees_as_far_as_its_deadline(tmp_path: Path) -> None:
    work = [StageDeployment(0, 0, AUTO, 0, 0, {"A": 10.0}, 0.0)]
    state = FleetState(FLEET, work, hourly(tmp_path))
    assert state.intensity.known_s == 3600
    task = Task(0, 0, 0.1, 0, 0, None, deadline_s=6.5 * 3600)
    state.advance(4 * 3600.0)
    decision = configured("scheduler", "deferring").decide(task, state)
    assert isinstance(decision, Wait)
    assert decision.until_s == 6 * 3600
    assert state.intensity.known_s == pytest.approx(6.5 * 3600)
    late = task._replace(deadline_s=1e300)  # at most FORESIGHT_S: here to the end of the trace
    decision = configured("scheduler", "deferring").decide(late, state)
    assert isinstance(decision, Wait)
    assert decision.until_s == 7 * 3600
    assert state.intensity.known_s == 8 * 3600 < FORESIGHT_S
    state.advance(20 * 3600.0)  # the last value holds
    assert state.devices["A"].intensity_g_per_kwh == 50
    assert configured("scheduler", "deferring").decide(late, state) == Assign("A")


def test_a_deferring_closed_loop_waits_beyond_the_first_hour(
    make_problem: MakeProblem, tmp_path: Path
) -> None:
    """From 03:00 on B's 300 g/kWh are the least, unless a request may wait until 06:00."""
    workload = Closed(60, classes=(RequestClass(deadline_s=4 * 3600.0),))
    job = make_job(make_problem(FLEET), Plan((0, 6), (AUTO,)), workload, intensity=hourly(tmp_path))
    records = Simulated().run(job, configured("scheduler", "deferring"))
    assert (records.table["device"] == "A").all()
    assert not records.table["start_s"].between(3 * 3600, 6 * 3600, inclusive="left").any()
