"""The emulated fleet keeps time, and predictions come near what it measures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
import torch

from pipeline.carbon.grids.static import Static
from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.deployment import place
from pipeline.execution.devices.profiler import Profiler
from pipeline.execution.job import Service
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.network.graph import Graph
from pipeline.planning.problem import Problem
from pipeline.results.figures.validation_figure import validation_figure
from pipeline.results.validation import Validation, comparison, errors_by_stages, prediction_errors
from schedulers.round_robin import RoundRobin
from tests.conftest import MakeProblem, configured, make_job, record, records


def test_random_plans_are_seeded_and_fit(make_problem: MakeProblem, two_devices: Fleet) -> None:
    fast, clean = two_devices.devices
    # The head's 10 280 bytes of parameters do not fit on clean.
    fleet = replace(two_devices, devices=(fast, replace(clean, memory_bytes=10_000)))
    problem = replace(make_problem(fleet), compression="int8")
    plans = Validation(plans=60).draw(problem)
    assert plans == Validation(plans=60).draw(problem)
    assert plans != Validation(plans=60, seed=1).draw(problem)
    assert {plan.num_stages for plan in plans} == {1, 2, 3}
    assert {plan.devices[-1] for plan in plans} == {"fast"}
    assert any("clean" in plan.devices for plan in plans)
    assert {plan.compression for plan in plans} == {"int8"}
    assert all(place([Service(problem, plan)]) for plan in plans)


def test_a_fleet_that_is_too_small_is_refused(make_problem: MakeProblem, two_devices: Fleet) -> None:
    tiny = tuple(replace(device, memory_bytes=1.0) for device in two_devices.devices)
    with pytest.raises(ConfigError, match="validation: none of 1000 random plans is possible .*memory_bytes"):
        Validation().draw(make_problem(replace(two_devices, devices=tiny)))
    with pytest.raises(
        ConfigError, match=r"validation.plans: must be a whole number from 1 to 100000 \(it is 1.5\)"
    ):
        Validation(plans=1.5)  # type: ignore[arg-type]


def test_errors_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    # The whole takes 21.5 ms on fast: start .5, layers 21. Two answers, after 20 and 28 ms.
    problem = make_problem(two_devices)
    run = records(
        [record(0, 0, "compute", "fast", 1.0, 1.020), record(1, 0, "compute", "fast", 2.0, 2.028)], 3.0
    )
    plan = Plan((0, 6), ("fast",))
    slow = [record(0, 0, "compute", "fast", 1.0, 1.043)]
    table = comparison(problem, [(plan, run), (plan, records(slow, 3.0))])
    assert table["predicted_ms"].tolist() == pytest.approx([21.5, 21.5])
    assert table["measured_ms"].tolist() == pytest.approx([24, 43])
    assert table["error"].tolist() == pytest.approx([24 / 21.5 - 1, 1])
    middle = 100 * (24 / 21.5 - 1)
    assert prediction_errors(table) == pytest.approx(
        {
            "prediction_error_p50": (middle + 100) / 2,
            "prediction_error_p95": middle + 0.95 * (100 - middle),
            "predictions_inside": 0,
        }
    )
    known = replace(problem, profile=replace(problem.profile, error={"fast": 0.2}))
    table = comparison(known, [(plan, run), (plan, records(slow, 3.0))])
    assert table["inside"].tolist() == [True, False]
    assert prediction_errors(table)["predictions_inside"] == 50
    assert errors_by_stages(table) == {
        "median error (%) of 2 plans of 1 stage": "55.8, p95 95.6, with its sign +55.8"
    }
    points = validation_figure(table, "tiny").data[-1]
    assert list(points.x) == table["predicted_ms"].tolist()
    assert list(points.y) == table["measured_ms"].tolist()


@pytest.mark.alone
@pytest.mark.parametrize("fleet_name", ["paper", "boards"])
def test_measured_latency_against_cpu_time_and_against_the_prediction(fleet_name: str) -> None:
    """A coarse guard that holds on a busy host too; `make fidelity` prints the figures."""
    torch.set_num_threads(1)
    spec, fleet = configured("model", "mobilenet_v2"), configured("fleet", fleet_name)
    graph = Graph.of(spec.build(), torch.zeros(1, 3, 224, 224), spec.name)
    profile = Profiler(cache_dir=None).profile(spec, graph, fleet)
    now = datetime.now(UTC)
    intensity = Intensity.of(fleet, Static(), now).at(0.0)
    problem = Problem(graph, fleet, profile, intensity)
    validation = Validation(plans=8)
    workload = Closed(validation.requests)
    inputs = configured("images", "photographs").inputs(spec, workload.count)
    backend = Emulated(calibrate_every_s=0.1)
    jobs = {plan: make_job(problem, plan, workload, inputs) for plan in validation.draw(problem)}
    runs = [(plan, backend.run(job, RoundRobin())) for plan, job in jobs.items()]
    table = comparison(problem, runs)
    errors = prediction_errors(table)
    print(table.to_string(), errors, profile.error)

    compute = pd.concat([run.table for _, run in runs])
    compute = compute[compute["kind"] == "compute"]
    speed = compute["device"].map(dict(profile.speeds)).astype(float)
    ratio = ((compute["end_s"] - compute["start_s"]) * speed / compute["cpu_s"]).groupby(compute["device"])
    print(ratio.describe().to_string())
    assert (ratio.median() - 1).abs().max() < 0.05
    assert errors["prediction_error_p50"] <= 15
