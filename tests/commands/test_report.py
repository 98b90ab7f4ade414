"""`carbonedge report` on a real run and a real sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.commands.report import report
from pipeline.domain.checks import ConfigError
from pipeline.tracking.tracking import Tracking
from tests.commands.conftest import SIMULATED, carbonedge, metrics, runs, store


def test_an_audit_says_where_every_gram_comes_from(
    two_runs: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, medium, _ = two_runs
    monkeypatch.chdir(tmp_path)
    before = len(runs(where))
    report([medium], [store(where)])
    assert len(runs(where)) == before
    audit = json.loads((tmp_path / f"audit-{medium}.json").read_text())
    shown = (tmp_path / f"audit-{medium}.html").read_text()
    own = metrics(where, medium)
    parts = {row["component"]: row for row in audit["components"]}
    assert sum(row["carbon_g"] for name, row in parts.items() if name != "total") == pytest.approx(
        own["carbon_total_g"]
    )
    assert parts["total"]["low_g"] < parts["total"]["carbon_g"] < parts["total"]["high_g"]
    by_name = {(row["owner"], row["coefficient"]): row for row in audit["coefficients"]}
    assert by_name["node-medium", "active_w"]["value"] == 84
    assert by_name["node-medium", "intensity_g_per_kwh"]["value"] == pytest.approx(530)
    assert audit["software"]["torch"]
    assert audit["grid"]["factor"] == "annual average"
    assert "embodied not known" in audit["sci"]["not stated, because"]
    assert audit["method"]["devices"].startswith("simulated")
    for said in ("Counted: dynamic", "ISO/IEC 21031", "node-medium", "Coefficients"):
        assert said in shown
    assert "http" not in shown.replace("https://pypi", "")


@pytest.mark.full
def test_the_audit_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = ("workload.seed=1,2", "scheduler=fastest,greenest", "+sweep.baseline.scheduler=fastest")
    load = ("workload=poisson", "workload.duration_s=1", "partitioner.device=auto")
    done = carbonedge(tmp_path, "-m", *SIMULATED, *load, *seeds)
    assert done.code == 0, done.errors
    (parent,) = [run for run in runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags]
    monkeypatch.chdir(tmp_path)
    report([parent.info.run_id], [store(tmp_path)])
    audit = json.loads((tmp_path / f"audit-{parent.info.run_id}.json").read_text())
    assert len(audit["trials"]) == 4
    assert {row["scheduler"] for row in audit["compared"]} == {"fastest", "greenest"}
    assert audit["software"]["torch"]
    assert audit["coefficients"]
    assert set(audit["front"]) <= {row["run_id"] for row in audit["trials"]}


@pytest.mark.parametrize(
    ("energy_j", "summary", "complaint"),
    [
        (-3.0, {}, "trial.: energy_j_per_inf must be a number >= 0"),
        (3.0, {"energy_j_per_inf": [1e300]}, "summary: energy_j_per_inf must be at most"),
        (
            3.0,
            {"energy_j_per_inf": [1.0], "energy_j_per_inf_lo": [9.0]},
            "summary: energy_j_per_inf must be no",
        ),
        (3.0, {"p_value": [7.0]}, "summary: p_value must be from 0 to 1"),
        (3.0, {"change": [-0.5], "change_lo": [0.5]}, "summary: change must be no less than change_lo"),
        (3.0, {"energy": [-1e300]}, "summary: energy must be from -1e.09 to 1e.09"),
        (3.0, {"repeats": [-3]}, "summary: repeats must be from 1"),
        (3.0, {"pairs": [1.5]}, "summary: pairs must be from 1"),
    ],
)
def test_a_sweep_with_an_impossible_figure_is_one_line(
    energy_j: float, summary: dict[str, list[float]], complaint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db")
    tracking.check()
    with tracking.open_run("sweep", {"sweep": "grid"}, {}) as sweep:
        sweep.log_table(pd.DataFrame(summary), "summary.json")
        with replace(tracking, parent_run_id=sweep.run_id).open_run("trial", {}, {}) as trial:
            MlflowClient(tracking.uri).log_metric(trial.run_id, "energy_j_per_inf", energy_j)
    with pytest.raises(ConfigError, match=complaint) as caught:
        report([sweep.run_id], [store(tmp_path)])
    owner = sweep if summary else trial
    assert str(caught.value).startswith(f"run {owner.run_id} (")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no store"):
        report(["0" * 32], [store(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_line(
    two_runs: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, medium, _ = two_runs
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"audit-{medium}.html").mkdir()
    with pytest.raises(ConfigError, match=rf"{tmp_path}/audit-{medium}.html: cannot be written"):
        report([medium], [store(where)])
    assert [path.name for path in tmp_path.iterdir()] == [f"audit-{medium}.html"]
