"""Runs worked by hand, and laws that any run keeps, whatever its outages."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.fleet import Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import request_latency_s
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Outage
from pipeline.execution.workloads.closed_loop import Closed
from schedulers.round_robin import RoundRobin
from tests.conftest import MakeProblem, make_job
from tests.execution.conftest import (
    ANEW,
    ARRIVALS,
    LAN,
    WHOLE_S,
    At,
    Fixed,
    LeastBusy,
    fleet,
    simulate,
    varied,
)


def test_queues_at_a_device_and_on_a_link_by_hand(make_problem: MakeProblem) -> None:
    # The input of 768 bytes takes 7.68 ms at 100 kB/s and comes 5 ms later; the model takes 43 ms.
    slow = Link("lan", bandwidth_bytes_per_s=1e5, latency_s=0.005)
    problem = make_problem(fleet(1.0, 0.5, links=(slow,), source="d0"))
    run = simulate(problem, Plan((0, 6), ("d1",)), At([0.0, 0.001]))
    moved, computed = (run.table[run.table["kind"] == kind] for kind in ("transfer", "compute"))
    assert moved["start_s"].tolist() == pytest.approx([0, 0.00768])
    assert moved["end_s"].tolist() == pytest.approx([0.01268, 0.02036])
    assert computed["queued_s"].tolist() == pytest.approx([0.01268, 0.02036])
    assert computed["start_s"].tolist() == pytest.approx([0.01268, 0.05568])
    assert computed["end_s"].tolist() == pytest.approx([0.05568, 0.09868])
    assert moved["device"].unique().tolist() == ["d0->d1"]
    assert request_latency_s(run).tolist() == pytest.approx([0.05568, 0.09768])


def test_a_closed_loop_keeps_so_many_requests_in_the_fleet(make_problem: MakeProblem) -> None:
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), Closed(9, concurrency=3))
    step = WHOLE_S
    latency_s = request_latency_s(run)
    assert latency_s.tolist() == pytest.approx([step, 2 * step] + [3 * step] * 7)
    assert run.window_s == pytest.approx(9 * step)


def test_overload_ends_in_counted_rejections(make_problem: MakeProblem) -> None:
    problem, plan = make_problem(fleet(1.0)), Plan((0, 6), ("d0",))
    for arriving, scheduler in ((plan, None), (Plan((0, 6), (AUTO,)), Fixed("d0"))):
        run = simulate(problem, arriving, At([0.001 * k for k in range(100)]), scheduler, max_requests=5)
        rejected = run.table[run.table["kind"] == "rejected"]
        assert set(rejected["reason"]) == {"5 requests were in the fleet"}
        # In the first 99 ms four are answered: every 21.5 ms one more is let in.
        assert len(rejected) == 100 - 5 - 4
        assert len(request_latency_s(run)) == 9


def test_what_no_device_takes_is_refused_after_the_wait(make_problem: MakeProblem) -> None:
    gone = [Outage("d0", 0.5)]
    for plan, scheduler in ((Plan((0, 6), (AUTO,)), Fixed("d0")), (Plan((0, 6), ("d0",)), None)):
        run = simulate(make_problem(fleet(1.0)), plan, At([0.0, 1.0, 2.0]), scheduler, gone, max_wait_s=3)
        rejected = run.table[run.table["kind"] == "rejected"]
        assert set(rejected["reason"]) == {"no device accepted it within 3 s"}
        assert rejected["end_s"].tolist() == [4.0, 5.0]
        assert len(request_latency_s(run)) == 1


def test_a_refusal_is_a_record(make_problem: MakeProblem) -> None:
    @dataclass(frozen=True)
    class Never:
        def decide(self, task: Task, state: FleetState) -> Decision:
            return Refuse("not today")

    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), (AUTO,)), At([0.0, 1.0]), Never())
    assert run.table["reason"].tolist() == ["not today"] * 2
    assert run.reserved == ()
    assert len(run.scheduling_s) == 2


def test_a_task_that_waits_of_its_own_accord_is_asked_again_then(make_problem: MakeProblem) -> None:
    @dataclass(frozen=True)
    class Later:
        def decide(self, task: Task, state: FleetState) -> Decision:
            return Assign("d0") if state.now_s >= 7.5 else Wait(7.5)

    # However many wait so, they are not in the fleet.
    run = simulate(
        make_problem(fleet(1.0)), Plan((0, 6), (AUTO,)), At([0.0, 1.0, 9.0]), Later(), max_requests=2
    )
    assert run.table["start_s"].tolist() == pytest.approx([7.5, 7.5215, 9])


def test_an_outage_moves_what_was_queued_and_loses_none(make_problem: MakeProblem) -> None:
    # Five at once on two equal devices; d0 fails after 30 ms, in its second task.
    problem = make_problem(fleet(1.0, 1.0))
    run = simulate(problem, Plan((0, 6), (AUTO,)), At([0.0] * 5), LeastBusy(), [Outage("d0", 0.03)])
    table = run.table
    lost = table[table["status"] == "lost"]
    assert lost["request"].tolist() == [2, 4]
    assert set(lost["device"]) == {"d0"}
    assert lost["end_s"].tolist() == [0.03, 0.03]
    assert set(lost["reason"]) == {"d0 failed"}
    # Request 2 had run since 21.5 ms; request 4 had only waited.
    assert (lost["end_s"] - lost["start_s"]).tolist() == pytest.approx([0.03 - 0.0215, 0])
    answered = table[table["status"] == "ok"].set_index("request")
    assert sorted(answered.index) == [0, 1, 2, 3, 4]
    assert answered.loc[[2, 4], "device"].tolist() == ["d1", "d1"]
    assert request_latency_s(run)[4] == pytest.approx(4 * WHOLE_S)


def test_a_device_that_comes_back_goes_on(make_problem: MakeProblem) -> None:
    gone = [Outage("d0", 0.01, duration_s=0.5)]
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), At([0.0, 0.1]), None, gone)
    ok = run.table[run.table["status"] == "ok"]
    assert ok["start_s"].tolist() == pytest.approx([0.51, 0.5315])


def test_data_that_is_gone_with_a_device_is_computed_again(make_problem: MakeProblem) -> None:
    """The second stage waits for d1; the tensor it takes in is on d0, which fails meanwhile."""
    problem = make_problem(fleet(1.0, 1.0))
    outages = [Outage("d1", 0.0, 1.0), Outage("d0", 0.5, 0.1)]
    run = simulate(problem, Plan((0, 3, 6), ("d0", "d1")), At([0.0]), None, outages)
    assert run.table["stage"].tolist() == [0, 0, 1, 1]
    assert run.table["kind"].tolist() == ["compute", "compute", "transfer", "compute"]
    assert len(request_latency_s(run)) == 1


OUTAGES = st.lists(
    st.builds(Outage, st.sampled_from(["d0", "d1", "d2"]), st.floats(0, 0.6), st.floats(0.01, 0.3)),
    max_size=3,
)


@ANEW
@given(ARRIVALS, OUTAGES, st.sampled_from(["pinned", "auto", "mixed"]), st.integers(1, 30))
def test_every_request_has_one_end_and_no_device_does_two_things_at_once(
    make_problem: MakeProblem, times_s: list[float], outages: list[Outage], kind: str, max_requests: int
) -> None:
    devices = {"pinned": ("d0", "d1", "d0"), "auto": (AUTO,) * 3, "mixed": ("d0", AUTO, "d2")}[kind]
    problem = varied(make_problem(fleet(1.0, 0.5, 0.7)), [0.8, 1, 1.5])
    plan, options = Plan((0, 2, 4, 6), devices), {"max_requests": max_requests, "max_wait_s": 0.4}
    run = simulate(problem, plan, At(times_s), LeastBusy(), outages, **options)
    table = run.table
    ended = table[((table["kind"] == "compute") & (table["stage"] == 2) & (table["status"] == "ok"))]
    rejected = table[table["kind"] == "rejected"]
    assert sorted([*ended["request"], *rejected["request"]]) == list(range(len(times_s)))
    assert (table["end_s"] >= table["start_s"] - 1e-12).all()
    assert (table["start_s"] >= table["queued_s"] - 1e-12).all()
    for what in ("compute", "transfer"):
        for name, rows in table[(table["kind"] == what)].groupby("device", observed=True):
            # A link is free again before what it carries has arrived: LAN's latency.
            ahead = LAN.latency_s if what == "transfer" else 0.0
            order = rows.sort_values(["start_s", "end_s"])
            assert (order["start_s"].to_numpy()[1:] >= order["end_s"].to_numpy()[:-1] - ahead - 1e-9).all(), (
                name
            )
    away = [(o.device, o.at_s, o.at_s + o.duration_s) for o in outages]
    for device, begin_s, end_s in away:
        on = table[(table["kind"] == "compute") & (table["device"] == device) & (table["status"] == "ok")]
        assert not ((on["start_s"] < end_s - 1e-9) & (on["end_s"] > begin_s + 1e-9)).any()


def test_several_models_share_the_fleet(make_problem: MakeProblem) -> None:
    problem = make_problem(fleet(1.0, 0.5))
    other = replace(problem, graph=replace(problem.graph, name="other"))
    job = make_job(problem, Plan((0, 6), ("d0",)), At([0.0] * 4, CLASSES))
    job = replace(job, services=(*job.services, replace(job.services[0], problem=other, plan=SPLIT)))
    table = Simulated().run(job, RoundRobin()).table
    assert table.groupby("model", observed=True)["request"].unique().map(list).to_dict() == {
        "tiny": [0, 2],
        "other": [1, 3],
    }
    assert table[table["model"] == "other"]["stage"].tolist().count(1) == 4  # two transfers, two stages
    assert set(table[table["model"] == "other"]["tenant"]) == {"them"}
    assert set(table[table["model"] == "tiny"]["deadline_s"]) == {0.5}


CLASSES = (RequestClass("a", deadline_s=0.5), RequestClass("b", tenant="them", model="other"))
SPLIT = Plan((0, 3, 6), ("d0", "d1"))


def test_a_wait_for_a_device_begins_when_it_begins(make_problem: MakeProblem) -> None:
    """A request that slept of its own accord until the device was away waits for it from then on."""
    problem = make_problem(fleet(1.0))

    @dataclass(frozen=True)
    class Sleeps:
        def decide(self, task: Task, state: FleetState) -> Decision:
            if state.now_s < 100:
                return Wait(100.0)
            return Assign("d0") if state.devices["d0"].up else Wait(math.inf)

    for workload in (At([0.0, 1.0]), Closed(3)):
        run = simulate(
            problem, Plan((0, 6), (AUTO,)), workload, Sleeps(), [Outage("d0", 99.0, 5.0)], max_wait_s=60
        )
        assert (run.table["status"] == "ok").all()
        assert run.table["start_s"].min() == pytest.approx(104)
        assert run.window_s == pytest.approx(run.table["end_s"].max())


def test_a_closed_loop_goes_on_after_requests_that_nobody_could_take(make_problem: MakeProblem) -> None:
    """The only device has failed for good: every request has its end, after the wait that is configured."""
    problem = make_problem(fleet(1.0))
    run = simulate(
        problem, Plan((0, 6), ("d0",)), Closed(5), RoundRobin(), [Outage("d0", 0.03)], max_wait_s=7
    )
    assert sorted(run.table.loc[run.table["kind"] == "rejected", "request"]) == [1, 2, 3, 4]
    ended = run.table.loc[run.table["kind"] == "rejected", "end_s"].tolist()
    assert ended == sorted(ended)
