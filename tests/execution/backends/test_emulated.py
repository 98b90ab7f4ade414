"""Real device processes: the fleet's time, the bits of the answer, memory, links, refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import RECORD_COLUMNS, Records, request_latency_s
from pipeline.domain.tasks import Assign, Decision, Refuse, Task, Wait
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.devices.device_error import DeviceError
from pipeline.execution.devices.pool import DevicePool, discard_pool, shared_pool
from pipeline.execution.devices.process import start_device
from pipeline.execution.fleet_state import FleetState
from pipeline.execution.job import Outage
from pipeline.execution.scheduler import Scheduler
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.planning.problem import Problem
from pipeline.results.metrics import output_max_abs_error
from schedulers.fastest import Fastest
from schedulers.round_robin import RoundRobin
from tests.conftest import ROOT, MakeProblem, make_job

EMULATED = Emulated(warmup=1, max_wait_s=0.2)
HOURLY = Poisson(rate_rps=5 / 3600, duration_s=3600)


def images(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(count)]


def run(problem: Problem, plan: Plan, count: int, scheduler: Scheduler | None = None) -> Records:
    return EMULATED.run(make_job(problem, plan, Closed(count), images(count)), scheduler or RoundRobin())


def test_a_split_run_answers_bit_for_bit_as_the_whole_model(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module
) -> None:
    records = run(make_problem(two_devices), Plan((0, 3, 5, 6), ("fast", "clean", "fast")), 5)
    expected = [tiny_module(x) for x in images(5)]
    assert all(torch.equal(a, b) for a, b in zip(records.outputs, expected, strict=True))
    assert not torch.equal(records.outputs[0], expected[1])
    assert tuple(records.table.columns) == RECORD_COLUMNS
    assert records.reserved == ("fast", "clean")
    assert records.measurement == "emulated"


@pytest.mark.parametrize("speed", [0.005, 10.0])
def test_a_stage_takes_its_cpu_time_over_the_speed(
    make_problem: MakeProblem, two_devices: Fleet, speed: float
) -> None:
    """Also on a device ten times faster than this host, and whatever real time passes."""
    fleet = replace(two_devices, devices=tuple(replace(d, speed=speed) for d in two_devices.devices))
    table = run(make_problem(fleet), Plan((0, 3, 6), ("fast", "clean")), 20).table
    compute = table[table["kind"] == "compute"]
    seconds = compute["end_s"] - compute["start_s"]
    assert seconds.to_numpy() == pytest.approx((compute["cpu_s"] / speed).to_numpy(), rel=1e-6)


def test_a_transfer_takes_what_its_link_takes_and_times_never_overlap(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    link = replace(two_devices.links[0], latency_s=0.02, bandwidth_bytes_per_s=1e5)
    fleet = replace(two_devices, links=(link,), source="clean")
    table = run(make_problem(fleet), Plan((0, 3, 6), ("fast", "clean")), 6).table
    moved = table[table["kind"] == "transfer"]
    assert moved["device"].tolist() == ["clean->fast", "fast->clean"] * 6
    assert moved["bytes"].tolist() == [768, 2048] * 6  # 3*8*8 and twice 4*8*8 float32
    planned = 0.02 + moved["bytes"] / 1e5
    spent = moved["end_s"] - moved["start_s"]
    assert spent.tolist() == pytest.approx(planned.tolist())
    begun = table[table["kind"] == "compute"]
    assert (begun["start_s"].to_numpy() >= moved["end_s"].to_numpy()).all()
    for _, rows in table.groupby("request"):
        assert (rows["start_s"] >= rows["queued_s"]).all()
        assert (rows["end_s"].to_numpy()[:-1] <= rows["start_s"].to_numpy()[1:] + 1e-9).all()


def test_messages_take_no_time_and_a_stated_dispatch_does(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """A request alone takes its stages' CPU time ÷ speed, its transfers and its devices' dispatch."""
    fast, clean = two_devices.devices
    fleet = replace(two_devices, devices=(fast, replace(clean, dispatch_s=0.03)))
    run_of = {
        stated: run(make_problem(stated), Plan((0, 3, 6), ("fast", "clean")), 12)
        for stated in (two_devices, fleet)
    }
    for stated, records in run_of.items():
        table = records.table
        compute = table[table["kind"] == "compute"]
        seconds = compute["cpu_s"] / compute["device"].map({"fast": 1.0, "clean": 0.5}).astype(float)
        expected_s = seconds.groupby(compute["request"]).sum() + 0.001 + 2048e-6
        expected_s += stated.by_name["clean"].dispatch_s
        assert request_latency_s(records).to_numpy() == pytest.approx(expected_s.to_numpy(), rel=1e-6)


def test_auto_stages_ask_the_scheduler_and_pinned_ones_do_not(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    records = run(make_problem(two_devices), Plan((0, 3, 6), ("clean", AUTO)), 4)
    compute = records.table[records.table["kind"] == "compute"]
    assert compute.loc[compute["stage"] == 0, "device"].unique().tolist() == ["clean"]
    # Round robin counts every task given to a device, so stage 1 of request r is task 2r + 1: the second.
    assert compute.loc[compute["stage"] == 1, "device"].tolist() == ["clean"] * 4
    assert len(records.scheduling_s) == 4
    assert run(make_problem(two_devices), Plan((0, 6), ("clean",)), 2).scheduling_s == ()


@pytest.mark.full
def test_tensors_cross_compressed_and_nothing_else_does(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module
) -> None:
    problem = make_problem(replace(two_devices, source="clean"))
    plan = Plan((0, 2, 4, 5, 6), ("fast", "clean", "clean", "fast"))
    expected = [tiny_module(x) for x in images(3)]
    furthest = {}
    # The input and the answer of 768 and 40 bytes never are. At cut 2 one tensor of 4 channels of 64 values
    # crosses, at cut 5 one of 256 values in a row; cut 4 lies within one device.
    for compression, sizes in {
        "float32": [768, 1024, 1024],
        "float16": [768, 512, 512],
        "int8": [768, 256 + 4 * 5, 256 + 5],
    }.items():
        records = run(problem, replace(plan, compression=compression), 3)
        moved = records.table[records.table["kind"] == "transfer"]
        assert moved["bytes"].tolist() == sizes * 3
        assert all(output.dtype == torch.float32 for output in records.outputs)
        furthest[compression] = output_max_abs_error(records.outputs, expected)
        auto = run(problem, replace(plan, devices=("fast", AUTO, AUTO, "fast"), compression=compression), 2)
        assert output_max_abs_error(auto.outputs, expected[:2]) < 0.1
    assert furthest["float32"] == 0 < furthest["float16"] < furthest["int8"] < 0.1


@dataclass(frozen=True)
class Answers:
    """Gives its decisions in turn, again from the first."""

    decisions: Sequence[Decision]

    def decide(self, task: Task, state: FleetState) -> Decision:
        return self.decisions[(task.request) % len(self.decisions)]


def test_a_refused_request_is_in_the_records_and_the_others_go_on(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module
) -> None:
    scheduler = Answers([Assign("fast"), Refuse("not today"), Wait(float("inf"))])
    records = run(make_problem(two_devices), Plan((0, 6), (AUTO,)), 4, scheduler)
    assert records.table["kind"].tolist() == ["compute", "rejected", "rejected", "compute"]
    assert records.table["reason"].tolist()[1] == "not today"
    expected = [tiny_module(x) for x in images(4)]
    assert torch.equal(records.outputs[1], expected[3])


@pytest.mark.parametrize("bounds", [(0, 6), (0, 3, 6)])
def test_a_device_that_is_gone_for_a_while_loses_no_request(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module, bounds: tuple[int, ...]
) -> None:
    """Its tasks go elsewhere, what only it held is computed again, and all answers are still right."""
    slow = replace(two_devices, devices=tuple(replace(d, speed=0.001) for d in two_devices.devices))
    plan = Plan(bounds, (AUTO,) * (len(bounds) - 1))
    gone = Outage("fast", at_s=0.1, duration_s=0.3)
    workload, inputs = Closed(24, concurrency=6), images(24)
    job = make_job(make_problem(slow), plan, workload, inputs, outages=(gone,))
    records = EMULATED.run(job, Fastest())
    expected = [tiny_module(x) for x in inputs]
    assert len(records.outputs) == 24
    assert all(torch.equal(a, b) for a, b in zip(records.outputs, expected, strict=True))
    table = records.table
    lost = table[table["status"] == "lost"]
    assert len(lost) >= 1
    assert set(lost["device"]) == {"fast"}
    assert set(lost["reason"]) == {"fast failed"}
    done = table[(table["kind"] == "compute") & (table["status"] == "ok") & (table["device"] == "fast")]
    began = done["start_s"][done["start_s"] > gone.at_s]
    assert (began >= gone.at_s + gone.duration_s).all()
    assert len(began) >= 1  # it was given tasks again
    assert (table["status"] != "failed").all()


def test_a_task_that_its_own_device_loses_runs_there_again(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module
) -> None:
    """The lost run's reply comes while the task waits for its device: it must not take the input away."""
    fast, clean = two_devices.devices
    slow = replace(two_devices, devices=(replace(fast, speed=0.001), replace(clean, speed=0.01)))
    inputs, gone = images(3), Outage("fast", at_s=0.05, duration_s=0.1)
    plan = Plan((0, 1, 6), ("clean", "fast"))
    job = make_job(make_problem(slow), plan, Closed(3, concurrency=3), inputs, outages=(gone,))
    records = replace(EMULATED, max_wait_s=2.0).run(job, Fastest())
    assert (records.table["status"] == "lost").any()
    expected = [tiny_module(x) for x in inputs]
    assert all(torch.equal(a, b) for a, b in zip(records.outputs, expected, strict=True))


def test_unconnected_devices_are_refused_before_the_start(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    apart = make_problem(replace(two_devices, links=()))
    with pytest.raises(ConfigError, match="fast and clean are not connected, and stage 1 needs them to be"):
        run(apart, Plan((0, 3, 6), ("fast", "clean")), 1)
    assert len(run(apart, Plan((0, 3, 6), ("fast", "fast")), 1).outputs) == 1


@pytest.mark.full
def test_a_device_that_dies_is_named_and_the_next_run_has_a_new_one(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    problem = make_problem(two_devices)
    run(problem, Plan((0, 6), ("fast",)), 1)
    pool = shared_pool(["fast", "clean"])
    os.kill(pool._processes["clean"].pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="the process of device clean (has ended|cannot be reached)"):
        pool.call("clean", {"op": "reset"})
    assert len(run(problem, Plan((0, 6), ("clean",)), 1).outputs) == 1


@pytest.mark.full
def test_a_device_that_stops_answering_is_named_with_its_task(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """A stopped process is neither dead nor done; the run ends, and the next one has a new process."""
    problem = make_problem(two_devices)
    hung = shared_pool(["fast", "clean"])._processes["clean"]
    os.kill(hung.pid, signal.SIGSTOP)
    job = make_job(problem, Plan((0, 6), ("clean",)), Closed(1), images(1))
    with pytest.raises(
        DeviceError, match=r"device clean has not answered for 2 s, since \d\d:\d\d:\d\d UTC: "
    ):
        replace(EMULATED, patience_s=1.0).run(job, Fastest())
    assert hung.poll() == -signal.SIGKILL
    assert len(run(problem, Plan((0, 6), ("clean",)), 1).outputs) == 1


@pytest.mark.full
def test_an_interrupted_exchange_leaves_no_reply_for_the_next(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a person stops a notebook's cell and runs it again."""
    problem = make_problem(two_devices)
    pool = shared_pool(["fast", "clean"])
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_receive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pool.call("clean", {"op": "reset"})
    assert not pool.alive()
    assert len(run(problem, Plan((0, 3, 6), ("fast", "clean")), 1).outputs) == 1


@pytest.mark.full
def test_a_device_that_does_not_start_leaves_none_behind(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(endpoint: str, name: str) -> subprocess.Popen[bytes]:
        if started:
            raise OSError(12, "Cannot allocate memory")
        started.append(start_device(endpoint, name))
        return started[0]

    discard_pool()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.execution.devices.pool.start_device", start)
        with pytest.raises(OSError, match="Cannot allocate"):
            run(make_problem(two_devices), Plan((0, 3, 6), ("fast", "clean")), 1)
    assert started[0].poll() is not None
    assert len(run(make_problem(two_devices), Plan((0, 6), ("clean",)), 1).outputs) == 1


def test_a_rejected_request_leaves_no_value_on_a_device(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[tuple[str, str]] = []
    call = DevicePool.call

    def watched(pool: DevicePool, name: str, header: dict[str, str], *rest: Any, **more: Any) -> Any:
        if header["op"] == "drop":
            dropped.append((name, header["request"]))
        return call(pool, name, header, *rest, **more)

    monkeypatch.setattr(DevicePool, "call", watched)
    plan, gone = Plan((0, 3, 6), ("fast", "clean")), Outage("clean", at_s=0.0, duration_s=1e9)
    job = make_job(make_problem(two_devices), plan, Closed(3), images(3), outages=(gone,))
    records = replace(EMULATED, max_wait_s=0.0).run(job, RoundRobin())
    assert records.outputs == ()
    assert dropped == [("fast", str(number)) for number in range(3)]
    dropped.clear()
    assert len(run(make_problem(two_devices), plan, 3).outputs) == 3
    assert dropped == []


def test_only_devices_that_may_run_a_stage_have_a_process(
    make_problem: MakeProblem, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def pool(names: Sequence[str]) -> DevicePool:
        started.extend(names)
        return shared_pool(names)

    monkeypatch.setattr("pipeline.execution.backends.emulated.shared_pool", pool)
    problem = make_problem(two_devices)
    run(problem, Plan((0, 6), ("fast",)), 1)
    assert started == ["fast"]
    monkeypatch.setattr("pipeline.execution.backends.emulated.PROCESS_BYTES", 1e15)
    with pytest.raises(
        ConfigError, match="backend: 2 devices may run a stage, and the process of each takes"
    ):
        run(problem, Plan((0, 6), (AUTO,)), 1)


@pytest.mark.full
def test_devices_end_with_their_coordinator() -> None:
    """A coordinator killed outright leaves no device process behind."""
    script = (
        "import time; from pipeline.execution.devices.pool import DevicePool; "
        "print(DevicePool(['d'])._processes['d'].pid, flush=True); time.sleep(60)"
    )
    coordinator = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert coordinator.stdout is not None
    device = int(coordinator.stdout.readline())
    coordinator.kill()
    coordinator.wait()
    deadline = time.monotonic() + 20
    while _alive(device):
        assert time.monotonic() < deadline, "the device process is still there"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_wrong_stage_fails_the_equality(
    make_problem: MakeProblem, two_devices: Fleet, tiny_module: torch.nn.Module
) -> None:
    """Negative control: leaving a layer out changes the answer, so the equality above can fail."""
    problem = make_problem(two_devices)
    graph = problem.graph
    x = images(1)[0]
    y = graph.stage(0, 1)(x)
    wrong = graph.stage(2, 6)(*y)[0]  # without the ReLU
    assert wrong.shape == (1, 10)
    assert not torch.equal(wrong, tiny_module(x))


def test_an_hour_of_the_fleet_takes_seconds(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """Arrivals that are far apart are not waited for, and the window holds the idle time."""
    begin = time.perf_counter()
    job = make_job(make_problem(two_devices), Plan((0, 3, 6), ("fast", "clean")), HOURLY, images(2))
    records = EMULATED.run(job, RoundRobin())
    assert time.perf_counter() - begin < 60
    assert len(records.outputs) == len(request_latency_s(records)) > 0
    assert records.window_s == 3600
    assert records.host_drift is not None
    assert np.isfinite(records.host_drift)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="backend: calibrate_every_s must be a number >= 0"):
        Emulated(calibrate_every_s=-1)
