"""The simulator against closed forms of queueing theory, hand-worked runs, and laws that any run keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import RECORD_COLUMNS, Records, request_latency_s
from pipeline.domain.requests import RequestClass
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.backends.fixed_pipeline import pipelined, served_s
from pipeline.execution.backends.simulated import Simulated, simulate_events
from pipeline.execution.deployment import deploy
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Outage
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.planning.cost import predict
from pipeline.planning.problem import Problem
from schedulers.round_robin import RoundRobin
from tests.conftest import MakeProblem, make_job
from tests.execution.conftest import At

LAN = Link("lan", bandwidth_bytes_per_s=1e6, latency_s=0.001)
WHOLE_S = 0.0215  # the tiny model on a device of speed 1: layers of 21 ms and a start of .5 ms
DISPATCH_S = 0.0002


@dataclass(frozen=True)
class Fixed:
    """Every task to one device; waits while it is down."""

    device: str

    def decide(self, task: Task, state: FleetState) -> Decision:
        return Assign(self.device) if state.devices[self.device].up else Wait(math.inf)


@dataclass(frozen=True)
class LeastBusy:
    """The device that is free first."""

    def decide(self, task: Task, state: FleetState) -> Decision:
        up = [device for device in state.in_order if device.fits(task.stage)]
        return Assign(min(up, key=lambda d: d.backlog_s).name) if up else Wait(math.inf)


def fleet(*speeds: float, links: tuple[Link, ...] = (LAN,), source: str | None = None) -> Fleet:
    devices = [
        Device(f"d{k}", memory_bytes=1e9, active_w=10, speed=speed, intensity_g_per_kwh=100)
        for k, speed in enumerate(speeds)
    ]
    return Fleet("fleet", tuple(devices), links, source)


def varied(problem: Problem, ratios: Sequence[float]) -> Problem:
    return replace(problem, profile=replace(problem.profile, variation={"d0": list(ratios)}))


def poisson(rate: float, count: int, seed: int = 0) -> At:
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return At(np.cumsum(gaps).tolist(), block=65536)


def simulate(
    problem: Problem, plan: Plan, workload: Any, scheduler: Any = None, outages: Any = (), **options: Any
) -> Records:
    job = make_job(problem, plan, workload, outages=tuple(outages))
    return Simulated(**options).run(job, scheduler or RoundRobin())


# --- closed forms ---------------------------------------------------------------------------------

UTILISATION = 0.7
MANY = 400_000


def test_m_d_1(make_problem: MakeProblem) -> None:
    """Mean wait of a queue with constant service (Pollaczek and Khinchine): rho s / (2 (1 - rho))."""
    service_s = WHOLE_S + DISPATCH_S
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), poisson(UTILISATION / service_s, MANY))
    waited_s = request_latency_s(run).mean() - service_s
    assert waited_s == pytest.approx(UTILISATION * service_s / (2 * (1 - UTILISATION)), rel=0.02)
    busy = (run.table["end_s"] - run.table["start_s"]).sum() / run.window_s
    assert busy == pytest.approx(UTILISATION * WHOLE_S / service_s, rel=0.01)


def exponential(problem: Problem) -> Problem:
    """Service times whose ratios to their mean are those of an exponential distribution; no dispatch."""
    ratios = -np.log(1 - (np.arange(20_000) + 0.5) / 20_000)
    problem = varied(problem, (ratios / ratios.mean()).tolist())
    return replace(problem, profile=replace(problem.profile, dispatch_s=0.0))


def test_m_m_1(make_problem: MakeProblem) -> None:
    """Time in an M/M/1 queue is exponential with mean s / (1 - rho)."""
    problem = exponential(make_problem(fleet(1.0)))
    run = simulate(problem, Plan((0, 6), ("d0",)), poisson(UTILISATION / WHOLE_S, MANY))
    latency_s = request_latency_s(run)
    mean_s = WHOLE_S / (1 - UTILISATION)
    assert latency_s.mean() == pytest.approx(mean_s, rel=0.03)
    assert np.percentile(latency_s, 95) == pytest.approx(mean_s * math.log(20), rel=0.04)


def test_tandem_queues(make_problem: MakeProblem) -> None:
    """What leaves an M/M/1 queue is Poisson again (Burke, 1956), so that the next one is M/M/1 too."""
    instant = Link("lan", bandwidth_bytes_per_s=1e12)
    problem = exponential(make_problem(fleet(1.0, 1.0, links=(instant,))))
    plan = Plan((0, 4, 6), ("d0", "d1"))
    first_s, second_s = 0.0105, 0.0115
    rate = UTILISATION / second_s
    run = simulate(problem, plan, poisson(rate, MANY))
    expected_s = first_s / (1 - rate * first_s) + second_s / (1 - rate * second_s)
    assert request_latency_s(run).mean() == pytest.approx(expected_s, rel=0.03)


def test_m_m_2_through_a_scheduler(make_problem: MakeProblem) -> None:
    """Two equal servers and one queue (Erlang C): tasks wait until a device is idle."""

    @dataclass(frozen=True)
    class WhenIdle:
        def decide(self, task: Task, state: FleetState) -> Decision:
            idle = [device.name for device in state.in_order if not device.in_flight]
            return Assign(idle[0]) if idle else Wait(math.inf)

    problem = exponential(make_problem(fleet(1.0, 1.0)))
    offered = 2 * UTILISATION
    run = simulate(problem, Plan((0, 6), (AUTO,)), poisson(offered / WHOLE_S, 60_000), WhenIdle())
    erlang_c = (offered**2 / 2 / (1 - UTILISATION)) / (1 + offered + offered**2 / 2 / (1 - UTILISATION))
    expected_s = WHOLE_S + erlang_c * WHOLE_S / (2 - offered)
    assert request_latency_s(run).mean() == pytest.approx(expected_s, rel=0.05)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 3)), min_size=1, max_size=30), st.floats(0, 5))
def test_lindley_s_recursion(tasks: list[tuple[float, float]], free_s: float) -> None:
    ready_s, takes_s = (np.array(column) for column in zip(*sorted(tasks), strict=True))
    expected, end_s = [], free_s
    for ready, takes in zip(ready_s, takes_s, strict=True):
        end_s = max(ready, end_s) + takes
        expected.append(end_s)
    assert served_s(ready_s, takes_s, free_s) == pytest.approx(expected)


# --- by hand --------------------------------------------------------------------------------------


def test_one_request_takes_what_the_cost_model_says(make_problem: MakeProblem) -> None:
    problem = make_problem(fleet(1.0, 0.5, source="d1"))
    for plan in (
        Plan((0, 6), ("d0",)),
        Plan((0, 2, 4, 6), ("d0", "d1", "d0")),
        Plan((0, 3, 6), ("d1", "d0")),
    ):
        run = simulate(problem, plan, Closed(2))
        expected = predict(problem, [plan])
        assert request_latency_s(run).tolist() == pytest.approx([expected.latency_s[0]] * 2)
        assert run.window_s == pytest.approx(2 * expected.latency_s[0])
        assert tuple(run.table.columns) == RECORD_COLUMNS


def test_queues_at_a_device_and_on_a_link_by_hand(make_problem: MakeProblem) -> None:
    # The input of 768 bytes takes 7.68 ms at 100 kB/s and comes 5 ms later; the model 43 ms, .2 ms to begin.
    slow = Link("lan", bandwidth_bytes_per_s=1e5, latency_s=0.005)
    problem = make_problem(fleet(1.0, 0.5, links=(slow,), source="d0"))
    run = simulate(problem, Plan((0, 6), ("d1",)), At([0.0, 0.001]))
    moved, computed = (run.table[run.table["kind"] == kind] for kind in ("transfer", "compute"))
    assert moved["start_s"].tolist() == pytest.approx([0, 0.00768])
    assert moved["end_s"].tolist() == pytest.approx([0.01268, 0.02036])
    assert computed["queued_s"].tolist() == pytest.approx([0.01268, 0.02036])
    assert computed["start_s"].tolist() == pytest.approx([0.01288, 0.01288 + 0.043 + 0.0002])
    assert computed["end_s"].tolist() == pytest.approx([0.05588, 0.09908])
    assert moved["device"].unique().tolist() == ["d0->d1"]
    assert request_latency_s(run).tolist() == pytest.approx([0.05588, 0.09808])


def test_a_closed_loop_keeps_so_many_requests_in_the_fleet(make_problem: MakeProblem) -> None:
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), Closed(9, concurrency=3))
    step = WHOLE_S + DISPATCH_S
    latency_s = request_latency_s(run)
    assert latency_s.tolist() == pytest.approx([step, 2 * step] + [3 * step] * 7)
    assert run.window_s == pytest.approx(9 * step)


def test_overload_ends_in_counted_rejections(make_problem: MakeProblem) -> None:
    problem, plan = make_problem(fleet(1.0)), Plan((0, 6), ("d0",))
    for arriving, scheduler in ((plan, None), (Plan((0, 6), (AUTO,)), Fixed("d0"))):
        run = simulate(problem, arriving, At([0.001 * k for k in range(100)]), scheduler, max_requests=5)
        rejected = run.table[run.table["kind"] == "rejected"]
        assert set(rejected["reason"]) == {"5 requests were in the fleet"}
        # In the first 99 ms four are answered: every 21.7 ms one more is let in.
        assert len(rejected) == 100 - 5 - 4
        assert len(request_latency_s(run)) == 9


def test_what_no_device_takes_is_refused_after_the_wait(make_problem: MakeProblem) -> None:
    gone = [Outage("d0", 0.5)]
    for plan, scheduler in ((Plan((0, 6), (AUTO,)), Fixed("d0")), (Plan((0, 6), ("d0",)), None)):
        run = simulate(make_problem(fleet(1.0)), plan, At([0.0, 1.0, 2.0]), scheduler, gone, max_wait_s=3)
        rejected = run.table[run.table["kind"] == "rejected"]
        assert set(rejected["reason"]) == {"no device took it within 3 s"}
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
    assert run.table["start_s"].tolist() == pytest.approx([7.5002, 7.5219, 9.0002])


def test_an_outage_moves_what_was_queued_and_loses_none(make_problem: MakeProblem) -> None:
    # Five at once on two equal devices; d0 is gone after 30 ms, in its second task.
    problem = make_problem(fleet(1.0, 1.0))
    run = simulate(problem, Plan((0, 6), (AUTO,)), At([0.0] * 5), LeastBusy(), [Outage("d0", 0.03)])
    table = run.table
    lost = table[table["status"] == "lost"]
    assert lost["request"].tolist() == [2, 4]
    assert set(lost["device"]) == {"d0"}
    assert lost["end_s"].tolist() == [0.03, 0.03]
    assert set(lost["reason"]) == {"d0 is gone"}
    # Request 2 had run since 21.9 ms; request 4 had only waited.
    assert (lost["end_s"] - lost["start_s"]).tolist() == pytest.approx([0.03 - 0.0219, 0])
    answered = table[table["status"] == "ok"].set_index("request")
    assert sorted(answered.index) == [0, 1, 2, 3, 4]
    assert answered.loc[[2, 4], "device"].tolist() == ["d1", "d1"]
    assert request_latency_s(run)[4] == pytest.approx(4 * 0.0217)


def test_a_device_that_comes_back_goes_on(make_problem: MakeProblem) -> None:
    gone = [Outage("d0", 0.01, duration_s=0.5)]
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), At([0.0, 0.1]), None, gone)
    ok = run.table[run.table["status"] == "ok"]
    assert ok["start_s"].tolist() == pytest.approx([0.5102, 0.5319])


def test_data_that_is_gone_with_a_device_is_computed_again(make_problem: MakeProblem) -> None:
    """The second stage waits for d1; the tensor it takes in is on d0, which is gone meanwhile."""
    problem = make_problem(fleet(1.0, 1.0))
    outages = [Outage("d1", 0.0, 1.0), Outage("d0", 0.5, 0.1)]
    run = simulate(problem, Plan((0, 3, 6), ("d0", "d1")), At([0.0]), None, outages)
    assert run.table["stage"].tolist() == [0, 0, 1, 1]
    assert run.table["kind"].tolist() == ["compute", "compute", "transfer", "compute"]
    assert len(request_latency_s(run)) == 1


# --- laws -----------------------------------------------------------------------------------------

ARRIVALS = st.lists(st.floats(0, 0.5), min_size=1, max_size=25).map(sorted)
OUTAGES = st.lists(
    st.builds(Outage, st.sampled_from(["d0", "d1", "d2"]), st.floats(0, 0.6), st.floats(0.01, 0.3)),
    max_size=3,
)
anew = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anew
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


@anew
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


def test_the_same_seed_gives_the_same_records_and_another_does_not(make_problem: MakeProblem) -> None:
    problem = varied(make_problem(fleet(1.0, 0.5)), [0.8, 1, 1.5])
    for plan in (Plan((0, 3, 6), ("d0", "d1")), Plan((0, 3, 6), (AUTO, AUTO))):
        one, same, other = (simulate(problem, plan, poisson(20, 50), seed=seed).table for seed in (3, 3, 4))
        pd.testing.assert_frame_equal(one, same)
        assert not one["end_s"].equals(other["end_s"])


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
        assert run.table["start_s"].min() == pytest.approx(104 + DISPATCH_S)
        assert run.window_s == pytest.approx(run.table["end_s"].max())


def test_a_closed_loop_goes_on_after_requests_that_nobody_could_take(make_problem: MakeProblem) -> None:
    """The only device is gone for good: every request has its end, after the wait that is configured."""
    problem = make_problem(fleet(1.0))
    run = simulate(
        problem, Plan((0, 6), ("d0",)), Closed(5), RoundRobin(), [Outage("d0", 0.03)], max_wait_s=7
    )
    assert sorted(run.table.loc[run.table["kind"] == "rejected", "request"]) == [1, 2, 3, 4]
    ended = run.table.loc[run.table["kind"] == "rejected", "end_s"].tolist()
    assert ended == sorted(ended)
