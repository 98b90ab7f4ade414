"""How a run is accounted: the same figures, whoever asks for them."""

from __future__ import annotations

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.execution.job import Service
from pipeline.results.accounted import accounted, is_carbon_metric
from pipeline.results.metrics import Summary
from tests.conftest import INTENSITY, TWO_STAGES, MakeProblem


def test_the_metrics_are_those_of_the_run_to_the_last_digit(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """Summary adds up the ledger as a run does; re-accounting takes it as a whole."""
    account = accounted(TWO_STAGES, two_devices, INTENSITY, Accounting())
    service = Service(make_problem(two_devices), Plan((0, 3, 6), ("fast", "clean")), ())
    of_run = Summary.of([service], TWO_STAGES, account.ledger).metrics()
    found = account.metrics(1)
    assert found == {key: value for key, value in of_run.items() if is_carbon_metric(key)}
    assert found["carbon_total_g"] > 0


def test_what_is_unknown_is_left_out_of_ledger_and_boundary(two_devices: Fleet) -> None:
    account = accounted(TWO_STAGES, two_devices, INTENSITY, Accounting("marginal"))
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
