"""How a run is accounted: the same figures, whoever asks for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.plan import Plan
from pipeline.execution.job import Service
from pipeline.results.accountant import Accountant, is_carbon_metric
from pipeline.results.summary import Summary
from tests.carbon.conftest import NOW, trace
from tests.conftest import INTENSITY, TWO_STAGES, MakeProblem, record, records


def accountant(fleet: Fleet, accounting: Accounting | None = None) -> Accountant:
    return Accountant(fleet, accounting or Accounting(), INTENSITY)


def test_records_that_outlast_the_known_intensity_extend_it(tmp_path: Path) -> None:
    """100 g/kWh in the first minute, 1,000 in the second; the intensity is known at the start only."""
    rows = [f"DE,{NOW + timedelta(minutes=k):%Y-%m-%dT%H:%M}Z,{g}" for k, g in enumerate((100, 1000))]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows]))
    fleet = Fleet("one", (Device("pi", memory_bytes=1, active_w=60, zone="DE"),))
    run = replace(records([record(0, 0, "compute", "pi", 30.0, 90.0)], 90.0, ("pi",)), start_utc=NOW)
    account = Accountant(fleet, Accounting(), Intensity.of(fleet, grid, NOW)).account(run)
    assert account.ledger["carbon_g"].sum() == pytest.approx(3600 / 3.6e6 * 550)


def test_the_metrics_are_those_of_the_run_to_the_last_digit(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """Summary adds up the ledger as a run does; re-accounting takes it as a whole."""
    account = accountant(two_devices).account(TWO_STAGES)
    service = Service(make_problem(two_devices), Plan((0, 3, 6), ("fast", "clean")), ())
    of_run = Summary.of([service], TWO_STAGES, account.ledger).metrics()
    found = account.metrics(1)
    assert found == {key: value for key, value in of_run.items() if is_carbon_metric(key)}
    assert found["carbon_total_g"] > 0


def test_what_is_unknown_is_left_out_of_ledger_and_boundary(two_devices: Fleet) -> None:
    account = accountant(two_devices, Accounting("marginal")).account(TWO_STAGES)
    assert [*account.left_out] == ["embodied"]
    assert set(account.ledger["component"]) == {"dynamic", "idle", "network"}
    boundary = account.boundary({"factor": "marginal"})
    assert "idle (none of the idle power)" in boundary
    assert "embodied_kg or lifetime_years of fast, clean" in boundary
    assert boundary.endswith("intensity: marginal.")


@pytest.mark.parametrize(
    ("key", "carbon"),
    [
        ("carbon_idle_g", True),
        ("carbon_g_per_inf_low", True),
        ("carbon_total_g_high", True),
        ("regret_to_oracle", True),
        ("latency_ms_p50", False),
        ("host_carbon_g", False),
        ("latency_ms_predicted_lo", False),
    ],
)
def test_which_metrics_accounting_decides(key: str, carbon: bool) -> None:
    assert is_carbon_metric(key) == carbon
