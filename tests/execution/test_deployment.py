"""Which devices hold which stages, what they need and take there, and what a fleet can answer, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.requests import Requests
from pipeline.execution.deployment import StageDeployment, arrivals, capacity_rps, deploy, place
from pipeline.execution.job import Service
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.planning.problem import Problem
from tests.conftest import MakeProblem, make_job


def placed(problem: Problem, plan: Plan) -> list[list[str]]:
    [stages] = place([Service(problem, plan)])
    return stages


def test_placing_respects_memory(make_problem: MakeProblem, two_devices: Fleet) -> None:
    # The head holds 256 * 10 + 10 parameters (10 280 bytes) and 1 064 bytes of activations.
    def fleet(clean_bytes: float) -> Fleet:
        fast, clean = two_devices.devices
        return replace(two_devices, devices=(fast, replace(clean, memory_bytes=clean_bytes)))

    roomy = make_problem(fleet(20_000))
    assert placed(roomy, Plan((0, 5, 6), ("fast", AUTO))) == [["fast"], ["fast", "clean"]]
    tight = make_problem(fleet(5_000))
    assert placed(tight, Plan((0, 5, 6), ("fast", AUTO))) == [["fast"], ["fast"]]
    with pytest.raises(
        ConfigError,
        match=r"clean.memory_bytes: stage 1 .* needs 11.3 kB and 5 kB are left",
    ):
        placed(tight, Plan((0, 5, 6), ("fast", "clean")))


def test_two_stages_on_one_device_share_its_memory(make_problem: MakeProblem, two_devices: Fleet) -> None:
    # Layers 0 to 3 hold 3 * 4 * 9 + 4 and 4 * 4 * 9 + 4 parameters and at most 3 072 bytes of activations
    # (input, output and residual), layers 3 to 6 hold 2 570 parameters and at most 3 072 bytes.
    graph = make_problem(two_devices).graph
    first, second = graph.stage_param_bytes(0, 3), graph.stage_param_bytes(3, 6)
    assert (first, second) == ((112 + 148) * 4, 2570 * 4)
    peaks = [graph.stage_peak_bytes(0, 3), graph.stage_peak_bytes(3, 6)]
    plan = Plan((0, 3, 6), ("fast", "fast"))

    def fleet(fast_bytes: float) -> Fleet:
        fast, clean = two_devices.devices
        return replace(two_devices, devices=(replace(fast, memory_bytes=fast_bytes), clean))

    # Both stages' parameters at once, beside the larger peak alone: whichever stage comes first.
    enough = first + second + max(peaks)
    assert placed(make_problem(fleet(enough)), plan) == [["fast"], ["fast"]]
    short = make_problem(fleet(enough - 1))
    with pytest.raises(ConfigError, match="devices.fast.memory_bytes: stage 1"):
        placed(short, plan)
    assert placed(short, Plan((0, 3, 6), ("clean", "fast")))
    # A scheduler's stage has to fit beside what is pinned there.
    assert placed(short, Plan((0, 3, 6), ("fast", AUTO))) == [["fast"], ["clean"]]


def test_services_share_the_memory_of_a_device(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    graph = problem.graph
    whole = graph.stage_param_bytes(0, 6)
    fast, clean = two_devices.devices
    enough = 2 * whole + graph.stage_peak_bytes(0, 6)
    for memory_bytes, holders in ((enough, ["fast", "clean"]), (enough - 1, ["clean"])):
        fleet = replace(two_devices, devices=(replace(fast, memory_bytes=memory_bytes), clean))
        pinned, free = (Service(make_problem(fleet), Plan((0, 6), (d,))) for d in ("fast", AUTO))
        assert place([free, pinned]) == [[holders], [["fast"]]]


def test_what_a_stage_needs_and_takes(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = replace(make_problem(two_devices), compression="int8")
    work = deploy([Service(problem, Plan((0, 2, 6), ("fast", AUTO), compression="int8"))])
    first, second = work
    # Layers of 1 + 2 ms and a start of .5 ms; int8 takes .4 ms + 100 ns for each of 1024 bytes to encode.
    assert first.seconds == {"fast": pytest.approx(3.5e-3 + 0.4e-3 + 1024e-7)}
    assert second.seconds["fast"] == pytest.approx(18.5e-3 + 0.2e-3 + 1024 * 5e-8)
    assert second.seconds["clean"] == pytest.approx(2 * second.seconds["fast"])
    assert (first.after_s, second.after_s) == (second.seconds["fast"], 0.0)
    assert (first.input_bytes, first.planned, second.planned) == (768, "fast", AUTO)
    assert second.memory_need_bytes == problem.graph.stage_param_bytes(2, 6) + problem.graph.stage_peak_bytes(
        2, 6
    )


def work(service: int, planned: str, **seconds: float) -> StageDeployment:
    return StageDeployment(service, 0, planned, 0.0, 0, seconds, 0.0)


def test_the_capacity_of_a_fleet_by_hand() -> None:
    assert capacity_rps([work(0, "a", a=0.1), work(0, "b", b=0.5)], [1]) == pytest.approx(2)
    # On auto each device answers requests on its own: 1 / .2 and 1 / .5 a second; c holds but one stage.
    auto = [work(0, AUTO, a=0.1, b=0.2, c=0.1), work(0, AUTO, a=0.1, b=0.3)]
    assert capacity_rps(auto, [1]) == pytest.approx(5 + 2)
    # Three of four requests ask for the service that takes .1 s, one for that of .5 s: .2 s on average.
    assert capacity_rps([work(0, AUTO, a=0.1), work(1, AUTO, a=0.5)], [3, 1]) == pytest.approx(5)


def test_a_class_of_an_unknown_model_is_refused(make_problem: MakeProblem, two_devices: Fleet) -> None:
    workload = Closed(3, classes={"other": {"model": "huge"}})  # type: ignore[arg-type]
    job = make_job(make_problem(two_devices), Plan((0, 6), ("fast",)), workload)
    with pytest.raises(
        ConfigError, match=r"workload.classes.other.model: unknown model 'huge' .the run has tiny"
    ):
        arrivals(job, deploy(job.services))
    known = make_job(make_problem(two_devices), Plan((0, 6), ("fast",)), Closed(3))
    [block] = arrivals(known, deploy(known.services))
    assert isinstance(block, Requests)
    assert (block.arrival_s.tolist(), block.kind.tolist()) == ([0, 0, 0], [0, 0, 0])
