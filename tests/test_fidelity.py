"""The emulated fleet keeps time: what it measures is CPU time ÷ speed, and what the profile predicted."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configured

from pipeline.backends.emulated import Emulated
from pipeline.cost import predict
from pipeline.domain import Plan, Problem
from pipeline.graph import Graph
from pipeline.grid import Static, device_intensity_g_per_kwh
from pipeline.metrics import request_latency_s
from pipeline.profile import Profiler
from schedulers.round_robin import RoundRobin

NUM_PLANS = 24
REQUESTS = 10


def random_plan(random: np.random.Generator, num_layers: int, devices: list[str]) -> Plan:
    stages = int(random.integers(1, 4))
    cuts = sorted(int(cut) for cut in random.choice(np.arange(1, num_layers), stages - 1, replace=False))
    return Plan((0, *cuts, num_layers), tuple(str(name) for name in random.choice(devices, stages)))


@pytest.mark.full
@pytest.mark.parametrize("fleet_name", ["paper", "boards"])
def test_measured_latency_against_cpu_time_and_against_the_prediction(fleet_name: str) -> None:
    torch.set_num_threads(1)
    spec, fleet = configured("model", "mobilenet_v2"), configured("fleet", fleet_name)
    graph = Graph.of(spec.build(), torch.zeros(1, 3, 224, 224), spec.name)
    profile = Profiler(cache_dir=None).profile(spec, graph, fleet)
    now = datetime.now(UTC)
    intensity = {d.name: device_intensity_g_per_kwh(d, Static(), now) for d in fleet.devices}
    problem = Problem(graph, fleet, profile, intensity)
    inputs = configured("workload", "photographs").inputs(spec)[:REQUESTS]
    random = np.random.default_rng(0)
    tables, rows = [], []
    for _ in range(NUM_PLANS):
        plan = random_plan(random, len(graph), list(fleet.by_name))
        records = Emulated(calibrate_every=3).run(problem, plan, inputs, RoundRobin())
        tables.append(records.table)
        measured_s = float(request_latency_s(records).median())
        predicted_s = float(predict(problem, [plan]).latency_s[0])
        rows.append((plan.bounds, plan.devices, predicted_s, measured_s, records.host_drift))
    found = pd.DataFrame(rows, columns=["bounds", "devices", "predicted_s", "measured_s", "drift"])
    found["error"] = found["measured_s"] / found["predicted_s"] - 1
    print(found.to_string())
    print(found["error"].abs().describe(percentiles=[0.5, 0.95]).to_string())

    compute = pd.concat(tables)
    compute = compute[compute["kind"] == "compute"]
    speed = compute["device"].map(dict(profile.speeds)).astype(float)
    ratio = ((compute["end_s"] - compute["start_s"]) * speed / compute["cpu_s"]).groupby(compute["device"])
    print(ratio.describe().to_string())
    assert (ratio.median() - 1).abs().max() < 0.05
    assert found["error"].abs().median() < 0.10
