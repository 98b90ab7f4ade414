"""The vectorised cost model against figures worked by hand and against the plain definition, plan by plan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.network.compression import compressed_bytes
from pipeline.planning.cost import Cost, Tables, arrays, predict
from pipeline.planning.problem import Problem
from tests.conftest import MakeProblem


def test_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = replace(make_problem(two_devices), idle="proportional")
    cost = predict(problem, [Plan((0, 3, 6), ("fast", "clean"))])
    # Layers take 1..6 ms of CPU, a start 0.5 ms: 6.5 ms at speed 1, 15.5 ms at speed 0.5. The residual's two
    # tensors of 4x8x8 float32 cross at cut 3: 2048 bytes at 1 MB/s, after 1 ms.
    travel_s = 0.001 + 2048e-6
    latency_s = 0.0065 + travel_s + 0.031
    assert cost.transfer_bytes[0] == 2048
    assert cost.latency_s[0] == pytest.approx(latency_s)
    assert cost.period_s[0] == pytest.approx(0.031)
    fast_j, clean_j, link_j = 0.0065 * 30, 0.031 * 12, 2048e-6
    assert cost.energy_j[0] == pytest.approx(fast_j + clean_j + link_j)
    fast_g, clean_g = 600 * 1.5 / 3.6e6, 100 / 3.6e6
    # No PUE on the link: its figure covers all that moving a byte takes.
    carbon_g = fast_j * fast_g + clean_j * clean_g + link_j * (600 + 100) / 3.6e6 / 2
    assert cost.carbon_g[0] == pytest.approx(carbon_g)
    # SCI counts both devices' idle power (10 W and 2 W) from the request's arrival to its answer.
    full = predict(replace(problem, idle="full"), [Plan((0, 3, 6), ("fast", "clean"))])
    dynamic_j = 0.0065 * 20 + 0.031 * 10 + link_j
    assert full.dynamic_j[0] == pytest.approx(dynamic_j)
    assert full.idle_j[0] == pytest.approx(12 * latency_s)
    assert full.energy_j[0] == pytest.approx(dynamic_j + 12 * latency_s)
    marginal = predict(replace(problem, idle="marginal"), [Plan((0, 3, 6), ("fast", "clean"))])
    assert marginal.energy_j[0] == pytest.approx(dynamic_j)


def test_a_stage_takes_its_devices_dispatch_too(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """It occupies the device, as the start of a stage does."""
    fast, clean = two_devices.devices
    slow = replace(two_devices, devices=(fast, replace(clean, dispatch_s=0.004)))
    plans = [Plan((0, 3, 6), ("fast", "clean")), Plan((0, 1, 3, 6), ("clean", "fast", "clean"))]
    without, stated = (
        predict(replace(make_problem(fleet), idle="proportional"), plans) for fleet in (two_devices, slow)
    )
    assert (stated.latency_s - without.latency_s).tolist() == pytest.approx([0.004, 0.008])
    assert (stated.period_s - without.period_s).tolist() == pytest.approx([0.004, 0.008])
    assert (stated.energy_j - without.energy_j).tolist() == pytest.approx([0.004 * 12, 0.008 * 12])


def by_definition(problem: Problem, plan: Plan) -> Cost:
    """One plan, stage by stage, as the docstrings of Cost and Problem say it."""
    fleet, graph, profile = problem.fleet, problem.graph, problem.profile
    latency_s, bytes_moved = 0.0, 0.0
    load_s: dict[object, float] = defaultdict(float)
    link_j, link_g = 0.0, 0.0
    place = fleet.source
    g_per_j = {d.name: problem.intensity_g_per_kwh[d.name] / 3.6e6 * d.pue for d in fleet.devices}
    for stage, device in enumerate(plan.devices):
        begin, end = plan.stage(stage)
        before, after = plan.compression_before(stage), plan.compression_before(stage + 1)
        layers_s = profile.cumulative_s(device)
        busy_s = layers_s[end] - layers_s[begin] + profile.start_s(device)
        busy_s += fleet.by_name[device].dispatch_s
        busy_s += float(profile.decode_s(device, before, graph.cuts[begin].num_bytes))
        busy_s += float(profile.encode_s(device, after, graph.cuts[end].num_bytes))
        load_s[device] += busy_s
        latency_s += busy_s
        if place is not None and place != device:
            link = fleet.link(place, device)
            assert link is not None
            moved = compressed_bytes(graph.cuts[begin].tensors, before)
            travel_s = link.transfer_s(moved)
            load_s[place, device] += travel_s - link.latency_s
            latency_s += travel_s
            bytes_moved += moved
            joules = moved * (link.energy_j_per_byte or 0.0)
            link_j += joules
            ends = (problem.intensity_g_per_kwh[place], problem.intensity_g_per_kwh[device])
            link_g += joules * sum(ends) / 2 / 3.6e6
        place = device
    dynamic_j = idle_j = carbon_g = 0.0
    for name in {"used": set(plan.devices), "fleet": set(fleet.by_name)}[problem.reserved]:
        own = fleet.by_name[name]
        counted_s = {"full": latency_s, "proportional": load_s[name], "marginal": 0.0}[problem.idle]
        dynamic_j += load_s[name] * (own.active_w - own.idle_w)
        idle_j += counted_s * own.idle_w
        carbon_g += (load_s[name] * (own.active_w - own.idle_w) + counted_s * own.idle_w) * g_per_j[name]
        if all(d.embodied_kg is not None and d.lifetime_years is not None for d in fleet.devices):
            assert own.embodied_kg is not None
            assert own.lifetime_years is not None
            carbon_g += own.embodied_kg * 1e3 * latency_s / (own.lifetime_years * 365.25 * 86400)
    return Cost(
        *(
            np.array([value])
            for value in (
                latency_s,
                max(load_s.values()),
                dynamic_j + link_j + idle_j,
                dynamic_j + link_j,
                idle_j,
                carbon_g + link_g,
                bytes_moved,
            )
        )
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_by_definition(data: st.DataObject, make_problem: MakeProblem, two_devices: Fleet) -> None:
    source = data.draw(st.sampled_from([None, "fast", "clean"]))
    embodied = data.draw(st.sampled_from([None, 80.0]))
    devices = tuple(replace(d, embodied_kg=embodied, lifetime_years=4.0) for d in two_devices.devices)
    problem = make_problem(Fleet("two", devices, two_devices.links, source))
    problem = replace(problem, idle=data.draw(st.sampled_from(["full", "proportional", "marginal"])))
    problem = replace(problem, reserved=data.draw(st.sampled_from(["used", "fleet"])))
    plans = []
    for _ in range(data.draw(st.integers(1, 5))):  # of any number of stages, under any compression
        stages = data.draw(st.integers(1, 4))
        cuts = data.draw(st.lists(st.integers(1, 5), min_size=stages - 1, max_size=stages - 1, unique=True))
        where = data.draw(st.lists(st.sampled_from(["fast", "clean"]), min_size=stages, max_size=stages))
        compression = data.draw(st.sampled_from(["float32", "float16", "int8"]))
        plans.append(Plan((0, *sorted(cuts), 6), tuple(where), compression=compression))
    found = predict(problem, plans)
    for index, plan in enumerate(plans):
        expected = by_definition(problem, plan)
        for name in Cost.__annotations__:
            assert getattr(found, name)[index] == pytest.approx(getattr(expected, name)[0], rel=1e-9), name


def test_a_reserved_fleet_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """All on fast: 21.5 ms. clean idles at 2 W if the whole fleet is reserved."""
    used = make_problem(two_devices)
    plan, latency_s = Plan((0, 6), ("fast",)), 0.0215
    assert predict(used, [plan]).idle_j[0] == pytest.approx(10 * latency_s)
    cost = predict(replace(used, reserved="fleet"), [plan])
    assert cost.idle_j[0] == pytest.approx(12 * latency_s)
    idle_g = latency_s * (10 * 600 * 1.5 + 2 * 100) / 3.6e6
    assert cost.carbon_g[0] == pytest.approx(0.0215 * 20 * 600 * 1.5 / 3.6e6 + idle_g)


def test_the_network_counts_if_every_link_is_known(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """As in the ledger, where a component counts for the whole fleet or not at all."""
    other = Link("slow", 1e5, between=("fast", "third"))
    third = replace(two_devices.devices[1], name="third")
    fleet = Fleet("three", (*two_devices.devices, third), (*two_devices.links, other))
    tables = Tables.of(make_problem(fleet))
    assert not tables.link_j_per_byte.any()
    assert not tables.link_g_per_byte.any()


def test_along_another_order(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    chain = Plan((0, 3, 6), ("fast", "clean"))
    same = replace(chain, order=tuple(range(6)))
    assert predict(problem, [same]).latency_s == pytest.approx(predict(problem, [chain]).latency_s)


def test_memory_is_what_all_stages_of_a_device_hold(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    graph = problem.graph
    tables = Tables.of(problem)
    plans = [Plan((0, 1, 3, 6), ("fast", "clean", "fast")), Plan((0, 6), ("clean",))]
    need = tables.memory_need_bytes(*arrays(tables, plans))
    fast = graph.stage_param_bytes(0, 1) + graph.stage_param_bytes(3, 6)
    fast += max(graph.stage_peak_bytes(0, 1), graph.stage_peak_bytes(3, 6))
    clean = graph.stage_param_bytes(1, 3) + graph.stage_peak_bytes(1, 3)
    whole = graph.stage_param_bytes(0, 6) + graph.stage_peak_bytes(0, 6)
    assert need.tolist() == [[fast, clean], [0, whole]]


def test_refusals(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    with pytest.raises(ConfigError, match="every stage needs a device"):
        predict(problem, [Plan((0, 6), (AUTO,))])
    apart = make_problem(replace(two_devices, links=()))
    with pytest.raises(ConfigError, match="fast and clean are not connected, and stage 1 needs them to be"):
        predict(apart, [Plan((0, 3, 6), ("fast", "clean"))])
    free = replace(make_problem(replace(two_devices, links=(Link("lan", 1e6),))), idle="proportional")
    assert predict(free, [Plan((0, 3, 6), ("fast", "clean"))]).energy_j[0] == pytest.approx(
        0.0065 * 30 + 0.031 * 12
    )
