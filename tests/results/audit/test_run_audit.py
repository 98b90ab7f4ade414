"""The audit of a run and of a sweep, from tables made by hand."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.fleet import Fleet
from pipeline.results.accountant import Accountant
from pipeline.results.audit.run_audit import AuditedRun, identity, run_audit
from pipeline.results.audit.sweep_audit import sweep_audit
from tests.conftest import INTENSITY, TWO_STAGES


@pytest.fixture
def run(two_devices: Fleet) -> AuditedRun:
    account = Accountant(two_devices, Accounting(), INTENSITY).account(TWO_STAGES)
    metrics = account.metrics(1)
    tags = {"model": "tiny", "boundary": "by tag", "mlflow.source.git.commit": "abc", "other": "x"}
    about = identity("1f0c", "tiny run", "FINISHED", tags)
    return AuditedRun(
        about, tags, metrics, TWO_STAGES.about(), account.ledger, {"model": {}}, two_devices, Accounting()
    )


def test_where_every_gram_comes_from(run: AuditedRun) -> None:
    audit = run_audit(run)
    assert audit["run"] == {
        "id": "1f0c", "name": "tiny run", "status": "FINISHED", "model": "tiny", "git commit": "abc",
    }  # fmt: skip
    assert audit["boundary"] == "by tag"
    assert audit["method"]["devices"].startswith("simulated: stages take")
    assert audit["method"]["host"] == "none"
    assert audit["window"]["window_s"] == 10
    *parts, total = audit["components"]
    assert [row["component"] for row in parts] == ["dynamic", "idle", "network"]
    assert sum(row["carbon_g"] for row in parts) == pytest.approx(total["carbon_g"])
    assert total["carbon_g"] == pytest.approx(run.metrics["carbon_total_g"])
    assert total["low_g"] is None  # no ranges are given
    assert {row["device"] for row in audit["devices"]} == {"fast", "clean"}
    intensity = {
        row["owner"]: row["value"]
        for row in audit["coefficients"]
        if row["coefficient"] == "intensity_g_per_kwh"
    }
    assert intensity == pytest.approx({"fast": 600, "clean": 100})


def test_ranges_bound_every_component(run: AuditedRun) -> None:
    rows = run_audit(replace(run, accounting=Accounting(ranges={"active_w": [0.9, 1.2]})))["components"]
    assert all(row["low_g"] <= row["carbon_g"] <= row["high_g"] for row in rows)


def test_what_keeps_a_run_from_having_an_sci(run: AuditedRun) -> None:
    why = run_audit(run)["sci"]["not stated, because"]
    assert why == "embodied not known; devices without a task are left out (accounting.reserved: used)"
    whole = replace(run, accounting=Accounting(reserved="fleet"))
    assert run_audit(whole)["sci"] == {"not stated, because": "embodied not known"}
    assert run_audit(whole)["window"]["reserved"] == ["fast", "clean"]
    why = run_audit(replace(run, accounting=Accounting("marginal")))["sci"]["not stated, because"]
    assert why.startswith("embodied not known; idle power counted by the rule 'marginal'")
    metrics = {**run.metrics, "sci_g_per_inf": 0.5}
    assert run_audit(replace(run, metrics=metrics))["sci"] == {"g_per_inference": 0.5, "R": "one inference"}


def test_a_sweep_has_its_trials_and_the_method_of_one(run: AuditedRun) -> None:
    trials = pd.DataFrame(
        {
            "run_id": ["a", "b"], "name": ["A", "B"], "status": "FINISHED", "start_time": 0,
            "metrics.stages": [1, 2], "tags.pareto": ["true", None], "tags.boundary": ["same", "same"],
        }
    )  # fmt: skip
    example = run_audit(run)
    audit = sweep_audit(identity("9e7d", "sweep", "FINISHED", {}), {}, {}, trials, [], example)
    assert audit["front"] == ["a"]
    assert audit["boundary"] == "same"
    assert audit["trials"][1] == {"run_id": "b", "name": "B", "status": "FINISHED", "metrics.stages": 2}
    assert audit["one of its trials"] == {"run": "1f0c", "name": "tiny run"}
    assert audit["coefficients"] == example["coefficients"]
    assert "front" not in example
