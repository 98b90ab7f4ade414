"""The vectorised cost model against figures worked by hand and against the plain definition, plan by plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import MakeProblem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cost import predict
from pipeline.domain import AUTO, ConfigError, Fleet, Link, Plan, Problem


def test_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    cost = predict(problem, [Plan((0, 3, 6), ("fast", "clean"))])
    # Layers take 1..6 ms of CPU, a start 0.5 ms: 6.5 ms at speed 1, 15.5 ms at speed 0.5. The residual's two
    # tensors of 4x8x8 float32 cross at cut 3: 2048 bytes at 1 MB/s, after 1 ms.
    travel_s = 0.001 + 2048e-6
    assert cost.transfer_bytes[0] == 2048
    assert cost.latency_s[0] == pytest.approx(2 * 0.0002 + 0.0065 + travel_s + 0.031)
    fast_j, clean_j, link_j = 0.0065 * 30, 0.031 * 12, 2048e-6
    assert cost.energy_j[0] == pytest.approx(fast_j + clean_j + link_j)
    fast_g, clean_g = 600 * 1.5 / 3.6e6, 100 / 3.6e6
    carbon_g = fast_j * fast_g + clean_j * clean_g + link_j * (fast_g + clean_g) / 2
    assert cost.carbon_g[0] == pytest.approx(carbon_g)


def latency_by_definition(problem: Problem, plan: Plan) -> float:
    total, place = 0.0, problem.fleet.source
    for stage, device in enumerate(plan.devices):
        begin, end = plan.stage(stage)
        if place is not None and place != device:
            link = problem.fleet.link(place, device)
            assert link is not None
            total += link.transfer_s(problem.graph.cuts[begin].num_bytes)
        total += problem.profile.dispatch_s + problem.profile.stage_s(device, begin, end)
        place = device
    return total


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_by_definition(data: st.DataObject, make_problem: MakeProblem, two_devices: Fleet) -> None:
    source = data.draw(st.sampled_from([None, "fast", "clean"]))
    problem = make_problem(replace(two_devices, source=source))
    stages = data.draw(st.integers(1, 4))
    cuts = st.lists(st.integers(1, 5), min_size=stages - 1, max_size=stages - 1, unique=True)
    devices = st.lists(st.sampled_from(["fast", "clean"]), min_size=stages, max_size=stages)
    plans = [
        Plan((0, *sorted(data.draw(cuts)), 6), tuple(data.draw(devices)))
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    expected = [latency_by_definition(problem, plan) for plan in plans]
    assert predict(problem, plans).latency_s.tolist() == pytest.approx(expected)


def test_refusals(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    with pytest.raises(ConfigError, match="every stage needs a device"):
        predict(problem, [Plan((0, 6), (AUTO,))])
    apart = make_problem(replace(two_devices, links=()))
    with pytest.raises(ConfigError, match="fast and clean are not connected, and stage 1 needs them to be"):
        predict(apart, [Plan((0, 3, 6), ("fast", "clean"))])
    free = replace(two_devices, links=(Link("lan", 1e6),))
    assert predict(make_problem(free), [Plan((0, 3, 6), ("fast", "clean"))]).energy_j[0] == pytest.approx(
        0.0065 * 30 + 0.031 * 12
    )
