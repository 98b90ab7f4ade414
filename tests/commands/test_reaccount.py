"""`carbonedge reaccount` on real runs in a real store; bad input writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from mlflow.tracking import MlflowClient

from pipeline.commands.reaccount import reaccount, reconfigured
from pipeline.commands.report import report
from pipeline.commands.terminal import error_message
from pipeline.domain.checks import ConfigError
from pipeline.tracking.stored import Stored
from tests.commands.conftest import client, metrics, runs, store


def test_a_run_is_accounted_anew_and_left_alone(two_runs: tuple[Path, str, str]) -> None:
    where, medium, _ = two_runs
    before = client(where).get_run(medium).to_dictionary()
    nodes = ("node-high", "node-medium", "node-green")
    added = [
        f"+fleet.devices.{node}.{value}" for node in nodes for value in ("embodied_kg=50", "lifetime_years=5")
    ]
    rules = ["accounting.reserved=fleet", "fleet.devices.node-medium.pue=1.5"]
    reaccount([medium], [*rules, *added, store(where)])
    assert client(where).get_run(medium).to_dictionary() == before
    (child,) = [run for run in runs(where) if run.data.tags.get("reaccounted_from") == medium]
    assert child.data.tags["mlflow.parentRunId"] == medium
    old, new = before["data"]["metrics"], child.data.metrics
    assert new["carbon_dynamic_g"] == pytest.approx(1.5 * old["carbon_dynamic_g"])
    assert new["latency_ms_p50"] == old["latency_ms_p50"]
    assert new["energy_j_per_inf"] == pytest.approx(old["energy_j_per_inf"])
    window_s = 20 / old["throughput_rps"]
    assert new["carbon_embodied_g"] == pytest.approx(3 * 50e3 * window_s / (5 * 365.25 * 86400))
    assert new["sci_g_per_inf"] == pytest.approx(new["carbon_total_g"] / 20)
    assert "sci_g_per_inf" not in old


def test_the_same_coefficients_give_the_same_ledger(two_runs: tuple[Path, str, str]) -> None:
    """To the last digit, from records that went through the store; and a re-accounted run can be again."""
    where, _, green = two_runs
    reaccount([green], ["accounting.idle=full", store(where)])
    (child,) = [run for run in runs(where) if run.data.tags.get("reaccounted_from") == green]
    found, before = metrics(where, child.info.run_id), metrics(where, green)
    assert found == {key: before[key] for key in found}
    assert {"carbon_g_per_inf", "latency_ms_p99", "throughput_rps", "requests_ok"} <= found.keys()
    assert before.keys() - found.keys() <= {
        "stages", "latency_ms_predicted", "latency_ms_predicted_lo", "latency_ms_predicted_hi",
        "scheduling_us_per_task",
    }  # fmt: skip
    reaccount([child.info.run_id], ["grid=static", store(where)])


def test_a_metric_of_another_version_is_left_out(
    two_runs: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where, medium, _ = two_runs
    client(where).log_metric(medium, "host_late", 0.25)
    before = {run.info.run_id for run in runs(where)}
    reaccount([medium], ["accounting.idle=marginal", store(where)])
    (child,) = [run for run in runs(where) if run.info.run_id not in before]
    assert "host_late" not in child.data.metrics
    monkeypatch.chdir(tmp_path)
    report([medium], [store(where)])
    assert "a metric of another version" in (tmp_path / f"audit-{medium}.html").read_text()


def test_params_with_names_that_mlflow_refuses_are_left_out() -> None:
    """A database of somebody else has any."""
    params = {"../x": "1", "a//b": "2", "": "3", "model@extra_models.NAME": "4", "fleet.devices.a-b.pue": "5"}
    run = Stored("0", "run", "FINISHED", {}, params, {}, cast("MlflowClient", None))
    assert run.copied_params == {"model@extra_models.NAME": "4", "fleet.devices.a-b.pue": "5"}


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no store"):
        reaccount(["0" * 32], ["grid=static", store(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ([], "nothing to change"),
        (["fleet=boards"], "fleet: accounting reads"),
        (["model=resnet50"], "model: accounting reads"),
        (["accounting.idle=none"], "accounting.idle: must be one of"),
        (["fleet.devices.node-medium.pue=0.5"], "pue must be a number >= 1"),
        (["+fleet.devices.node-medium.lifetime_years=0"], "lifetime_years must be a number > 0"),
        (["grid=trace", "grid.path=no.csv"], "grid.path: no such file"),
        (["accounting.idel=full"], "accounting: unknown key 'idel'"),
        (["grid=null"], "grid=null"),
        (["accounting=5"], "accounting=5: Config group override must be"),
        (["fleet.devices.node-medium.speed=3"], "fleet.devices.node-medium.speed: accounting reads"),
        (["fleet.devices.node-medium.pue={"], "fleet.devices.node-medium.pue: cannot be read"),
        (["fleet.devices.node-medium.zone=NO"], "zone must be text, in quotes"),
    ],
)
def test_a_bad_reaccount_writes_nothing(
    two_runs: tuple[Path, str, str], overrides: list[str], complaint: str
) -> None:
    where, medium, _ = two_runs
    before: list[Any] = [run.info.run_id for run in runs(where)]
    with pytest.raises(Exception) as caught:  # noqa: PT011 Hydra's own for an unknown key
        reaccount([medium], [*overrides, store(where)])
    assert complaint in (error_message.complaint(caught.value) or "")
    assert [run.info.run_id for run in runs(where)] == before


def test_interpolations_of_a_run_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override below one would resolve it, and the child's config.yaml would hold the secret."""
    monkeypatch.setenv("SECRET", "hunter2")
    made = "${oc.create:'{pue: 1.0, sources: {pue: \"${oc.env:SECRET}\"}}'}"
    stored = {
        "fleet": {"devices": {"a": made, "b": {"pue": 1.0, "idle_w": made}}},
        "grid": "${oc.env:SECRET}",
    }
    overrides = ["fleet.devices.a.pue=1.2", "fleet.devices.b.pue=1.3"]
    config, chosen = reconfigured(stored, overrides)
    assert config == {
        "fleet": {"devices": {"a": {"pue": 1.2}, "b": {"pue": 1.3, "idle_w": made}}},
        "grid": "${oc.env:SECRET}",
    }
    assert chosen == {}
