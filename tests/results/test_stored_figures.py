"""A stored run's metrics are those of its ledger and its records, or refused by name."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.domain.records import Records
from pipeline.execution.job import Service
from pipeline.results.accountant import Accountant
from pipeline.results.stored_figures import by_ledger, by_records, by_window
from pipeline.results.summary import Summary
from tests.conftest import INTENSITY, TWO_STAGES, MakeProblem, record, records

MIXED = records(
    [
        record(0, 0, "compute", "fast", 0.0, 1.0, deadline_s=2.0),
        record(1, 0, "compute", "fast", 1.0, 4.0, deadline_s=2.0),
        record(2, 0, "compute", "fast", 4.0, 5.0, status="failed", deadline_s=2.0),
        record(3, 0, "rejected", "", 5.0, 5.0, status="failed", deadline_s=2.0),
    ],
    window_s=8.0,
    reserved=("fast",),
)
"""Two requests answered, in 1 and in 3 s; one failed and one was rejected. Each had 2 s."""


def summarised(
    run: Records, make_problem: MakeProblem, fleet: Fleet
) -> tuple[dict[str, float], pd.DataFrame]:
    """The metrics that a run has, and its ledger."""
    ledger = Accountant(fleet, Accounting(), INTENSITY).account(run).ledger
    plan = Plan((0, 6), ("fast",)) if run is MIXED else Plan((0, 3, 6), ("fast", "clean"))
    service = Service(make_problem(fleet), plan, ())
    return Summary.of([service], run, ledger).metrics(), ledger


@pytest.mark.parametrize("run", [TWO_STAGES, MIXED])
def test_a_runs_own_metrics_are_taken(run: Records, make_problem: MakeProblem, two_devices: Fleet) -> None:
    metrics, ledger = summarised(run, make_problem, two_devices)
    assert by_ledger("run", metrics, ledger, two_devices, Accounting()) == pytest.approx(metrics)
    found = by_records("run", metrics, run)
    assert found == {key: metrics[key] for key in found}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("carbon_total_g", 1.0, "carbon_total_g is 1.0, but"),
        ("energy_j_per_inf", 1e-300, "energy_j_per_inf is 1e-300, but"),
        ("network_j_per_inf", 0.0, "network_j_per_inf is 0.0, but 4.0 by its ledger.json"),
        ("requests_ok", 3.0, "energy_j_per_inf is"),
        ("sci_g_per_inf", 1e17, "has sci_g_per_inf, which does not follow from its ledger.json"),
        ("carbon_total_g_high", 1.0, "has carbon_total_g_high, which does not follow"),
        ("host_j_per_inf", 1.0, "has host_j_per_inf, which does not follow"),
        ("carbon_idle_g", None, "has idle in its ledger.json, but no metric of it"),
    ],
)
def test_a_metric_that_the_ledger_does_not_give_is_named(
    key: str, value: float | None, named: str, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    metrics, ledger = summarised(TWO_STAGES, make_problem, two_devices)
    changed = {name: old for name, old in metrics.items() if name != key}
    changed |= {} if value is None else {key: value}
    with pytest.raises(ConfigError) as caught:
        by_ledger("run 7", changed, ledger, two_devices, Accounting())
    assert str(caught.value).startswith("run 7: ")
    assert named in str(caught.value) or key == "requests_ok"


def test_a_metric_that_is_missing_follows_from_the_ledger(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """Without the energy of links, all of a run's energy would count as that of its devices."""
    metrics, ledger = summarised(TWO_STAGES, make_problem, two_devices)
    without = {key: value for key, value in metrics.items() if key != "network_j_per_inf"}
    assert by_ledger("run", without, ledger, two_devices, Accounting())["network_j_per_inf"] == 4.0


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("requests_ok", 2),
        ("requests_failed", 1),
        ("requests_rejected", 1),
        ("devices_used", 1),
        ("throughput_rps", 2 / 8),
        ("transfer_bytes_per_inf", 0),
        ("latency_ms_mean", 2000.0),
        ("latency_ms_p50", 2000.0),
        ("latency_ms_p95", 2900.0),
        ("slo_miss_rate", 3 / 4),
        ("stages", 1),
    ],
)
def test_each_metric_of_the_requests_follows_from_the_records(
    key: str, right: float, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    metrics, _ = summarised(MIXED, make_problem, two_devices)
    assert metrics[key] == pytest.approx(right)
    with pytest.raises(ConfigError, match=rf"^run 7: {key} is 5.5, but .* by its records.json and run.json$"):
        by_records("run 7", metrics | {key: 5.5}, MIXED)


def test_throughput_follows_from_the_window() -> None:
    by_window("mine", {"requests_ok": 5.0, "throughput_rps": 2.5}, 2.0)
    by_window("mine", {"requests_ok": 0.0}, 0.0)
    with pytest.raises(ConfigError, match=r"^mine: throughput_rps is 3.0, but 2.5 by its run.json$"):
        by_window("mine", {"requests_ok": 5.0, "throughput_rps": 3.0}, 2.0)
    with pytest.raises(ConfigError, match="^mine: its run.json has a window_s of 0"):
        by_window("mine", {"requests_ok": 5.0}, 0.0)


def test_a_metric_that_no_record_gives_is_named(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """TWO_STAGES has no deadlines, and too few requests for the interval of a percentile."""
    metrics, _ = summarised(TWO_STAGES, make_problem, two_devices)
    for key in ("slo_miss_rate", "latency_ms_p99_lo"):
        with pytest.raises(
            ConfigError, match=f"^run 7: has {key}, which does not follow from its records.json"
        ):
            by_records("run 7", metrics | {key: 0.5}, TWO_STAGES)


def test_the_hosts_energy_of_an_inference_is_that_of_the_run_divided(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    metrics, ledger = summarised(TWO_STAGES, make_problem, two_devices)
    num_ok = metrics["requests_ok"]
    metered = metrics | {"host_energy_j": 6.0}
    found = by_ledger("run", metered, ledger, two_devices, Accounting())
    assert found["host_j_per_inf"] == 6.0 / num_ok
    with pytest.raises(ConfigError, match="run 7: host_j_per_inf is 100.0, but"):
        by_ledger("run 7", metered | {"host_j_per_inf": 100.0}, ledger, two_devices, Accounting())
