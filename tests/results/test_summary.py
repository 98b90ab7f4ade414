"""A run's metrics worked by hand from a small table of records."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import LEDGER_COLUMNS, account
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import Records, request_latency_s
from pipeline.domain.requests import RequestClass
from pipeline.execution.job import Service
from pipeline.planning.problem import Problem
from pipeline.results.metric_keys import metric
from pipeline.results.metrics import run_name
from pipeline.results.summary import Summary
from tests.conftest import MakeProblem, record, records

PLAN = Plan((0, 3, 6), ("fast", AUTO))
RUN = replace(
    records(
        [
            record(0, 0, "compute", "fast", 1.0, 2.0, queued_s=0.5),
            record(0, 1, "transfer", "fast->clean", 2.0, 3.0, bytes=2000),
            record(0, 1, "compute", "clean", 3.0, 4.5),
            record(1, 0, "compute", "fast", 5.0, 6.0),
            record(1, 1, "transfer", "fast->clean", 6.0, 7.0, bytes=2000),
            record(1, 1, "compute", "clean", 7.0, 7.5),
            record(2, 0, "compute", "fast", 8.0, 9.0),
            record(2, 1, "rejected", "", 9.0, 9.0, status="failed", reason="full"),
        ],
        window_s=10.0,
    ),
    scheduling_s=(2e-6, 4e-6),
    host_drift=1.25,
)


def summarised(problem: Problem, plan: Plan, run: Records, rule: str = "full") -> Summary:
    intensity = Intensity.constant(problem.intensity_g_per_kwh)
    ledger = account(run, problem.fleet, intensity, Accounting(rule))
    return Summary.of((Service(problem, plan),), run, ledger)


def test_figures_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    figures = summarised(problem, PLAN, RUN).metrics()
    assert request_latency_s(RUN).to_dict() == {0: 4.0, 1: 2.5}
    assert figures["latency_ms_mean"] == 3250
    assert figures["latency_ms_p50"] == 3250
    assert figures["latency_ms_p95"] == pytest.approx(2500 + 0.95 * 1500)
    assert (figures["requests_ok"], figures["requests_failed"], figures["requests_rejected"]) == (2, 0, 1)
    assert figures["throughput_rps"] == 0.2
    assert figures["transfer_bytes_per_inf"] == 2000
    assert figures["scheduling_us_per_task"] == pytest.approx(3.0)
    assert (figures["stages"], figures["devices_used"], figures["host_drift"]) == (2, 2, 1.25)
    # Idle 10 W and 2 W over 10 s; dynamic 20 W * 3 s and 10 W * 2 s; network 2 * 2000 bytes at 1 µJ.
    assert figures["energy_j_per_inf"] == pytest.approx((120 + 60 + 20 + 4e-3) / 2)
    parts = [figures[f"carbon_{part}_g"] for part in ("dynamic", "idle", "network")]
    assert sum(parts) == pytest.approx(figures["carbon_total_g"])
    assert figures["carbon_g_per_inf"] == pytest.approx(figures["carbon_total_g"] / 2)
    assert figures["inferences_per_g"] == pytest.approx(2 / figures["carbon_total_g"])
    assert "carbon_embodied_g" not in figures  # nobody gave it
    assert "transfer_bytes_saved_per_inf" not in figures  # nothing was compressed
    assert "latency_ms_predicted_lo" not in figures  # nobody knows how good the profile is
    assert figures["latency_ms_predicted"] == pytest.approx((0.0065 + 0.001 + 2048e-6 + 0.031) * 1e3)
    assert all(metric(key) for key in figures)


def test_deadlines_and_lost_tasks_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    run = records(
        [
            record(0, 0, "compute", "fast", 1.0, 2.0, deadline_s=1.0),
            record(1, 0, "compute", "fast", 2.0, 3.0, queued_s=1.5, deadline_s=1.0),
            record(2, 0, "compute", "clean", 3.0, 4.0, deadline_s=9.0, status="lost", reason="clean failed"),
            record(2, 0, "compute", "fast", 4.5, 6.0, queued_s=4.0, deadline_s=9.0),
            record(3, 0, "compute", "fast", 6.0, 9.0),
            record(4, 0, "rejected", "", 6.0, 6.0, status="failed", reason="full", deadline_s=1.0),
        ],
        10.0,
    )
    # Request 1 was 1.5 s under way, 4 was refused; 3 has no deadline.
    assert request_latency_s(run).to_dict() == {0: 1.0, 1: 1.5, 2: 3.0, 3: 3.0}
    figures = summarised(make_problem(two_devices), Plan((0, 6), (AUTO,)), run).metrics()
    assert figures["slo_miss_rate"] == 2 / 4
    assert (figures["requests_ok"], figures["requests_failed"], figures["requests_rejected"]) == (4, 0, 1)


def test_nothing_answered_leaves_out_what_needs_an_answer(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    run = records([record(0, 0, "rejected", "", 0.0, 0.0, status="failed", reason="full")], 1.0, ())
    problem = make_problem(two_devices)
    figures = summarised(problem, PLAN, run).metrics()
    assert figures["requests_rejected"] == 1
    assert not {"latency_ms_p50", "carbon_g_per_inf", "inferences_per_g", "throughput_rps"} & set(figures)


def test_names_tell_plans_apart(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    summary = summarised(problem, PLAN, RUN)
    labels = summary.labels({"scheduler": "green", "partitioner": "explicit"})
    assert labels == {
        "cuts": "3",
        "devices": "fast → clean",
        "partitioner": "explicit",
        "scheduler": "green",
    }
    assert run_name(labels, {}) == "cut 3 · fast → clean · green"
    assert summary.as_it_ran() == Plan((0, 3, 6), ("fast", "clean"))
    both = pd.concat([RUN.table, pd.DataFrame([record(3, 0, "compute", "clean", 9.0, 9.5)])])
    assert summarised(problem, PLAN, replace(RUN, table=both)).as_it_ran() is None
    pinned = summarised(problem, PLAN, replace(RUN, scheduling_s=())).labels({"scheduler": "green"})
    assert pinned["scheduler"] == "pinned"


@pytest.mark.parametrize(
    ("varied", "name"),
    [
        ({"scheduler": "green"}, "green · cut 3 · fast → clean"),
        ({"scheduler.carbon_weight": "0.7622790783"}, "carbon_weight 0.762 · cut 3 · fast → clean · green"),
        (
            {"partitioner.cuts.0": "0.1", "scheduler.carbon_weight": ".5"},
            "cut 3 · fast → clean · carbon_weight 0.5 · green",
        ),
        (
            {"scheduler": "green", "partitioner.device": "fast", "workload.rps": "20"},
            "green · rps 20 · cut 3 · fast → clean",
        ),
        ({"model": "resnet18", "oracle": "true"}, "resnet18 · oracle true · cut 3 · fast → clean · green"),
    ],
)
def test_a_name_begins_with_what_varies(varied: dict[str, str], name: str) -> None:
    labels = {"cuts": "3", "devices": "fast → clean", "partitioner": "explicit", "scheduler": "green"}
    assert run_name(labels, varied) == name


def test_a_name_has_no_setting_that_had_no_effect() -> None:
    whole = {"cuts": "none", "devices": "fast", "partitioner": "explicit", "scheduler": "pinned"}
    assert run_name(whole, {"scheduler.carbon_weight": "0.5"}) == "fast · pinned"


def test_a_prediction_has_the_interval_of_its_least_sure_device(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    problem = make_problem(two_devices)
    known = replace(problem, profile=replace(problem.profile, error={"fast": 0.1, "clean": 0.25}))
    figures = summarised(known, PLAN, RUN).metrics()
    middle = figures["latency_ms_predicted"]
    assert figures["latency_ms_predicted_lo"] == pytest.approx(0.75 * middle)
    assert figures["latency_ms_predicted_hi"] == pytest.approx(1.25 * middle)
    assert metric("latency_ms_predicted_hi").unit == "ms"


def test_compression_saves_bytes_and_stays_in_the_plan(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    plan = replace(PLAN, compression="float16")
    summary = summarised(problem, plan, RUN)
    figures = summary.metrics()
    assert figures["transfer_bytes_saved_per_inf"] == 2 * (2048 - 2000) / 2  # 2048 bytes lie at cut 3
    # As above, with half the bytes on the link and the fixture's codecs at both of its ends.
    encode, decode = 2e-4 + 2048 * 5e-8, (1e-4 + 2048 * 2.5e-8) / 0.5
    seconds = 0.0065 + encode + 0.001 + 1024e-6 + decode + 0.031
    assert figures["latency_ms_predicted"] == pytest.approx(seconds * 1e3)
    assert summary.as_it_ran() == Plan((0, 3, 6), ("fast", "clean"), compression="float16")


def test_parts_add_up_to_the_whole(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    intensity = Intensity.constant(problem.intensity_g_per_kwh)
    whole = summarised(problem, PLAN, RUN)
    summary = Summary((Service(problem, PLAN),))
    first = RUN.table["request"] == 0
    empty = replace(RUN, table=RUN.table[:0], scheduling_s=())
    for table, decisions_s in ((RUN.table[first], (2e-6,)), (RUN.table[~first], (4e-6,))):
        part = replace(empty, table=table, scheduling_s=decisions_s, window_s=0.0, reserved=())
        summary.add(part, account(part, two_devices, intensity, Accounting()))
    summary.add(empty, account(empty, two_devices, intensity, Accounting()))
    assert summary.metrics() == pytest.approx(whole.metrics())
    pd.testing.assert_frame_equal(summary.ledger(), whole.ledger())
    pd.testing.assert_frame_equal(summary.classes(()), whole.classes(()))
    assert summary.as_it_ran() == whole.as_it_ran()
    assert summary.reasons == whole.reasons == {"full"}


def test_the_ledger_of_a_run_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    ledger = summarised(make_problem(two_devices), PLAN, RUN).ledger()
    assert list(ledger.columns) == list(LEDGER_COLUMNS)
    assert set(ledger["request"]) == {-1}
    (row,) = ledger[(ledger["device"] == "fast") & (ledger["component"] == "dynamic")].to_dict("records")
    # 20 W above idle for 3 s, at 600 g/kWh and PUE 1.5.
    assert (row["stage"], row["energy_j"], row["pue"]) == (0, 60, 1.5)
    assert row["intensity_g_per_kwh"] == pytest.approx(600)
    assert row["carbon_g"] == pytest.approx(60 / 3.6e6 * 600 * 1.5)


def test_classes_by_hand(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """Two tenants: each has its own latencies, misses and carbon; idle energy is nobody's."""
    run = records(
        [
            record(0, 0, "compute", "fast", 0.0, 1.0, tenant="a", deadline_s=2.0),
            record(1, 0, "compute", "fast", 1.0, 4.0, tenant="a", deadline_s=2.0),
            record(2, 0, "compute", "clean", 0.0, 3.0, tenant="b"),
        ],
        10.0,
    )
    asked = (RequestClass("urgent", "a", deadline_s=2), RequestClass("rest", "b"), RequestClass("more", "b"))
    summary = summarised(make_problem(two_devices), Plan((0, 6), (AUTO,)), run)
    a, b = summary.classes(asked).to_dict("records")
    assert (a["class"], b["class"]) == ("urgent", "rest, more")
    assert (a["model"], a["tenant"], a["requests"], a["requests_ok"]) == ("tiny", "a", 2, 2)
    assert (a["latency_ms_mean"], a["slo_miss_rate"]) == (2000, 0.5)
    assert a["own_carbon_g_per_inf"] == pytest.approx(20 * 4 / 3.6e6 * 600 * 1.5 / 2)
    assert (b["tenant"], b["latency_ms_p95"]) == ("b", 3000)
    assert math.isnan(b["slo_miss_rate"])
    assert b["own_carbon_g_per_inf"] == pytest.approx(10 * 3 / 3.6e6 * 100)
