"""The simulator against the cost model and closed forms of queueing theory."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.carbon.accounting import ATTRIBUTIONS, COMPONENTS, RESERVED_MEANS, Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import RECORD_COLUMNS, Records, request_latency_s
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.planning.cost import predict
from pipeline.planning.problem import Problem
from tests.conftest import MakeProblem, configured
from tests.execution.conftest import WHOLE_S, fleet, poisson, simulate, varied

UTILISATION = 0.7
MANY = 400_000


def test_m_d_1(make_problem: MakeProblem) -> None:
    """Mean wait of a queue with constant service (Pollaczek and Khinchine): rho s / (2 (1 - rho))."""
    run = simulate(make_problem(fleet(1.0)), Plan((0, 6), ("d0",)), poisson(UTILISATION / WHOLE_S, MANY))
    waited_s = request_latency_s(run).mean() - WHOLE_S
    assert waited_s == pytest.approx(UTILISATION * WHOLE_S / (2 * (1 - UTILISATION)), rel=0.02)
    busy = (run.table["end_s"] - run.table["start_s"]).sum() / run.window_s
    assert busy == pytest.approx(UTILISATION, rel=0.01)


def exponential(problem: Problem) -> Problem:
    """Service times whose ratios to their mean are those of an exponential distribution."""
    ratios = -np.log(1 - (np.arange(20_000) + 0.5) / 20_000)
    return varied(problem, (ratios / ratios.mean()).tolist())


def test_the_period_is_the_time_between_answers_whatever_the_latency(make_problem: MakeProblem) -> None:
    """Stages of 6.5 and 15.5 ms, a link that is busy for 20.5 ms with each input, which comes .2 s later."""
    far = Link("far", bandwidth_bytes_per_s=1e5, latency_s=0.2)
    problem, plan = make_problem(fleet(1.0, 1.0, links=(far,))), Plan((0, 3, 6), ("d0", "d1"))
    period_s = predict(problem, [plan]).period_s[0]
    run = simulate(problem, plan, Closed(400, concurrency=60))
    last = run.table[(run.table["kind"] == "compute") & (run.table["stage"] == 1)]
    answered_s = np.sort(last["end_s"].to_numpy())
    assert period_s == pytest.approx(2048 / 1e5)
    assert np.diff(answered_s)[100:].mean() == pytest.approx(period_s, rel=1e-6)


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
    """Two equal servers and one queue (Erlang C): without any load allowed, tasks wait until one is idle."""
    offered = 2 * UTILISATION
    run = two_servers(make_problem, UTILISATION, configured("scheduler", "performance", max_load=0))
    erlang_c = (offered**2 / 2 / (1 - UTILISATION)) / (1 + offered + offered**2 / 2 / (1 - UTILISATION))
    expected_s = WHOLE_S + erlang_c * WHOLE_S / (2 - offered)
    assert request_latency_s(run).mean() == pytest.approx(expected_s, rel=0.05)


@pytest.mark.parametrize("name", ["fastest", "least_loaded"])
def test_two_queues_of_which_the_shorter_is_joined(make_problem: MakeProblem, name: str) -> None:
    """At .3 of capacity the mean wait is .144 s (Haight, 1958, "Two queues in parallel"): .099 s in M/M/2."""
    expected = shortest_queue_wait(0.3)
    assert expected == pytest.approx(0.144, abs=0.0005)
    run = two_servers(make_problem, 0.3, configured("scheduler", name))
    assert request_latency_s(run).mean() / WHOLE_S - 1 == pytest.approx(expected, rel=0.08)


def two_servers(make_problem: MakeProblem, utilisation: float, scheduler: Any) -> Records:
    """Two equal devices with exponential service."""
    problem = exponential(make_problem(fleet(1.0, 1.0)))
    return simulate(problem, Plan((0, 6), (AUTO,)), poisson(2 * utilisation / WHOLE_S, 40_000), scheduler)


def shortest_queue_wait(utilisation: float, most: int = 20) -> float:
    """Mean wait ÷ mean service, from the balance equations of both queues, cut off at `most` tasks each."""
    rates = np.zeros((most, most, most, most))
    for i, j in np.ndindex(most, most):
        joins = [1.0, 0.0] if i < j else [0.0, 1.0] if i > j else [0.5, 0.5]
        for (to_i, to_j), rate in {
            (i + 1, j): 2 * utilisation * joins[0],
            (i, j + 1): 2 * utilisation * joins[1],
            (i - 1, j): 1.0,
            (i, j - 1): 1.0,
        }.items():
            if 0 <= to_i < most and 0 <= to_j < most:
                rates[to_i, to_j, i, j] += rate
                rates[i, j, i, j] -= rate
    balance = rates.reshape(most**2, most**2)
    balance[0] = 1  # in place of one equation, which follows from the others: the sum of all shares
    shares = np.linalg.solve(balance, np.eye(most**2)[0]).reshape(most, most)
    tasks = float((shares * np.add.outer(np.arange(most), np.arange(most))).sum())
    return tasks / (2 * utilisation) - 1  # Little's law


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


@pytest.mark.parametrize("reserved", RESERVED_MEANS)
@pytest.mark.parametrize("idle", ATTRIBUTIONS)
def test_a_run_s_ledger_is_what_the_cost_model_says(
    idle: str, reserved: str, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """Two devices and one that does nothing; idle power, PUE, manufacture and the network all count."""
    link = replace(two_devices.links[0], energy_j_per_byte=1e-3)
    third = replace(two_devices.devices[1], name="third", idle_w=5.0)
    devices = [replace(d, embodied_kg=4e4, lifetime_years=4.0) for d in (*two_devices.devices, third)]
    problem = make_problem(Fleet("three", tuple(devices), (link,), source="clean"))
    problem = replace(problem, idle=idle, reserved=reserved)
    intensity = Intensity.constant(problem.intensity_g_per_kwh)
    for plan in (Plan((0, 6), ("fast",)), Plan((0, 2, 4, 6), ("fast", "clean", "fast"))):
        run = simulate(problem, plan, Closed(3))
        ledger = account(run, problem.fleet, intensity, Accounting(idle, reserved=reserved))
        assert set(ledger["component"]) == {*COMPONENTS}
        expected = predict(problem, [plan])
        assert ledger["energy_j"].sum() == pytest.approx(3 * expected.energy_j[0])
        assert ledger["carbon_g"].sum() == pytest.approx(3 * expected.carbon_g[0])
        counted_j = ledger.loc[ledger["component"] == "idle", "energy_j"].sum()
        assert counted_j == pytest.approx(3 * expected.idle_j[0])


def test_the_same_seed_gives_the_same_records_and_another_does_not(make_problem: MakeProblem) -> None:
    problem = varied(make_problem(fleet(1.0, 0.5)), [0.8, 1, 1.5])
    for plan in (Plan((0, 3, 6), ("d0", "d1")), Plan((0, 3, 6), (AUTO, AUTO))):
        one, same, other = (simulate(problem, plan, poisson(20, 50), seed=seed).table for seed in (3, 3, 4))
        pd.testing.assert_frame_equal(one, same)
        assert not one["end_s"].equals(other["end_s"])
