"""Runs and sweeps as people start them, with a real store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from pipeline.commands.terminal.cli import flags_first, spread_overrides
from tests.commands.conftest import SIMULATED, SMALL, carbonedge, client, runs, table
from tests.conftest import configured


def test_one_configuration_is_one_run_with_its_figures_and_tables(tmp_path: Path) -> None:
    outcome = carbonedge(
        tmp_path, *SMALL, "partitioner=explicit", "partitioner.devices=[node-high,auto,auto]"
    )
    assert outcome.code == 0, outcome.errors
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert metrics["requests_ok"] == 4
    assert metrics["stages"] == 2
    assert metrics["top1_agreement"] == 1.0
    assert metrics["scheduling_us_per_task"] > 0
    parts = sum(metrics[f"carbon_{part}_g"] for part in ("dynamic", "idle", "network"))
    assert parts == pytest.approx(metrics["carbon_total_g"])
    assert run.data.tags["measurement"] == "emulated"
    assert run.data.tags["mlflow.runName"] in outcome.output
    assert "Median latency (ms)" in outcome.output
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in outcome.output
    assert run.data.tags["mlflow.runName"].startswith("cut 4")
    artifacts = {artifact.path for artifact in client(tmp_path).list_artifacts(run.info.run_id)}
    assert artifacts >= {"config.yaml", "overrides.yaml", "ledger.json", "records.json", "profile.json"}
    fed = {each.dataset.name: each.tags[0].value for each in run.inputs.dataset_inputs}
    assert fed == {"profile of mobilenetv4_conv_small on paper": "profiler", "photographs": "images"}
    ledger = table(tmp_path, run.info.run_id, "ledger.json")
    assert isinstance(ledger, pd.DataFrame)
    assert ledger["carbon_g"].sum() == pytest.approx(metrics["carbon_total_g"])


@pytest.mark.full
def test_the_profile_alone(tmp_path: Path) -> None:
    outcome = carbonedge(tmp_path, *SMALL, "action=profile")
    assert outcome.code == 0, outcome.errors
    (run,) = runs(tmp_path)
    assert set(table(tmp_path, run.info.run_id, "profile.json")["device"]) == {"host"}
    assert "node-green (ms)" in outcome.output
    speeds = {key: float(value) for key, value in run.data.params.items() if key.startswith("speed.")}
    high = speeds["speed.node-high"]
    assert speeds == pytest.approx(
        {"speed.node-high": high, "speed.node-medium": 0.6 * high, "speed.node-green": 0.4 * high}, rel=1e-3
    )


@pytest.mark.full
def test_a_sweep_finds_a_front_and_compares_with_the_paper(tmp_path: Path) -> None:
    outcome = carbonedge(tmp_path, *SMALL, "sweep=pareto", "sweep.n_trials=8", "sweep.warm_start=exact")
    assert outcome.code == 0, outcome.errors
    found = runs(tmp_path)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run is not parent]
    assert len(children) == 8
    assert {run.info.status for run in found} == {"FINISHED"}
    points = {
        run.info.run_id: (run.data.metrics["carbon_g_per_inf"], run.data.metrics["latency_ms_p50"])
        for run in children
    }
    front = {
        a
        for a, p in points.items()
        if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points.values())
    }
    assert {run.info.run_id for run in children if run.data.tags.get("pareto") == "true"} == front
    assert parent.data.metrics["trials_complete"] == 8
    regret = client(tmp_path).get_metric_history(parent.info.run_id, "regret_to_exact")
    assert [point.step for point in regret] == list(range(8))
    values = [point.value for point in regret]
    assert values == pytest.approx(sorted(values, reverse=True), abs=1e-12)
    assert 0 <= values[-1] < 1
    config = Path(client(tmp_path).download_artifacts(children[0].info.run_id, "config.yaml", str(tmp_path)))
    assert {"sweep", "hydra"}.isdisjoint(yaml.safe_load(config.read_text()))
    assert parent.data.metrics["front_size"] == len(front)
    assert "monolithic" in outcome.output
    assert "mlflow ui --backend-store-uri" in outcome.output


@pytest.mark.full
def test_sweeps_that_begin_together_are_one(tmp_path: Path) -> None:
    """Three processes make one parent and run each trial once; each of them writes the front."""
    first = carbonedge(tmp_path, *SIMULATED)  # creates the store and the profile
    assert first.code == 0, first.errors
    with ThreadPoolExecutor() as pool:
        asked = (*SIMULATED, "sweep=pareto", "sweep.n_trials=10")
        outcomes = list(pool.map(lambda _: carbonedge(tmp_path, *asked), range(3)))
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], [outcome.errors for outcome in outcomes]
    sweep = [run for run in runs(tmp_path) if "sweep" in run.data.tags or "trial" in run.data.tags]
    [parent] = [run for run in sweep if "sweep" in run.data.tags]
    children = [run for run in sweep if run is not parent]
    assert sorted(int(run.data.tags["trial"]) for run in children) == list(range(10))
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in sweep} == {"FINISHED"}
    assert parent.data.metrics["trials_complete"] == 10
    assert "front.html" in {file.path for file in client(tmp_path).list_artifacts(parent.info.run_id)}
    assert not (tmp_path / "outbox").exists()


def test_overrides_of_an_mlproject_are_spread() -> None:
    assert spread_overrides(["model=a", "overrides=x=1 y='b c' 'z=[1, 2]'"]) == [
        "model=a",
        "x=1",
        "y=b c",
        "z=[1, 2]",
    ]
    assert spread_overrides(["overrides="]) == []
    assert spread_overrides(["sweep.constraints={slo_miss_rate: .01}"]) == [
        "++sweep.constraints={slo_miss_rate: .01}"
    ]


def test_flags_may_stand_anywhere() -> None:
    """`fleet=mine --config-dir ~/my-conf` did not find the fleet."""
    given = ["fleet=mine", "-m", "--config-dir", "/my=conf", "a=1", "--cfg", "job", "-x", "b=2"]
    assert flags_first(given) == [
        "-m",
        "--config-dir",
        "/my=conf",
        "--cfg",
        "job",
        "-x",
        "fleet=mine",
        "a=1",
        "b=2",
    ]


@pytest.mark.full
def test_a_simulated_run_is_compared_with_the_oracle(tmp_path: Path) -> None:
    done = carbonedge(
        tmp_path, *SIMULATED, "workload=poisson",
        "workload.duration_s=2", "+workload.classes.all.deadline_s=0.1", "partitioner.device=auto",
        "scheduler=constrained", "oracle=true", "accounting.idle=marginal",
    )  # fmt: skip
    assert (done.code, done.errors) == (0, "")
    (run,) = client(tmp_path).search_runs(["0", "1"])
    assert run.data.tags["measurement"] == "simulated"
    assert run.data.metrics["requests_ok"] > 10
    assert 0 <= run.data.metrics["slo_miss_rate"] <= 1
    assert 0 <= run.data.metrics["regret_to_oracle"] < 2


SEVERAL = (
    "+model@extra_models.b=timm", "extra_models.b.name=mobilenetv3_small_050",
    "extra_models.b.input_size=64", "workload.requests=12",
    "+workload.classes={a: {tenant: t, deadline_s: 9}, b: {model: mobilenetv3_small_050, share: 2}}",
)  # fmt: skip


@pytest.mark.full
def test_several_models_and_tenants_share_the_fleet(tmp_path: Path) -> None:
    outcome = carbonedge(tmp_path, *SMALL, *SEVERAL, "partitioner=explicit")
    assert outcome.code == 0, outcome.errors
    (run,) = runs(tmp_path)
    assert run.data.metrics["requests_ok"] == 12
    assert run.data.metrics["top1_agreement"] == 1.0
    assert run.data.metrics["slo_miss_rate"] == 0.0
    assert run.data.params["extra_models.b"] == "timm"
    classes = table(tmp_path, run.info.run_id, "classes.json").set_index("model")
    assert list(classes.index) == ["mobilenetv3_small_050", "mobilenetv4_conv_small"]
    assert classes["tenant"].tolist() == ["default", "t"]
    assert classes["requests_ok"].sum() == 12
    assert (classes["requests_ok"] > 0).all()
    records = table(tmp_path, run.info.run_id, "records.json")
    assert set(records["model"]) == set(classes.index)


@pytest.mark.full
def test_a_closed_loop_is_accounted_at_the_time_it_ran(tmp_path: Path) -> None:
    """A trace that changes every second, and slow devices: each request has an intensity of its own."""
    rows = [f"A,2030-01-01T00:{k // 60:02}:{k % 60:02}Z,{k}" for k in range(1000)]
    (tmp_path / "trace.csv").write_text("\n".join(["zone,utc,lifecycle_g_per_kwh", *rows]))
    nodes = ("node-high", "node-medium", "node-green")
    zones = [f"fleet.devices.{node}.intensity_g_per_kwh=null" for node in nodes]
    zones += [f"+fleet.devices.{node}.zone=A" for node in nodes]
    slow = [f"fleet.devices.{node}.cpu_quota=0.004" for node in nodes]
    outcome = carbonedge(
        tmp_path, *SIMULATED, *zones, *slow, "grid=trace", "grid.path=trace.csv", "start_utc=2030-01-01",
        "workload.requests=30", "accounting.idle=marginal",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    (run,) = runs(tmp_path)
    ledger = table(tmp_path, run.info.run_id, "ledger.json")
    dynamic = ledger[ledger["component"] == "dynamic"].sort_values("request")
    records = table(tmp_path, run.info.run_id, "records.json").sort_values("request")
    middle_s = (records["start_s"] + records["end_s"]).to_numpy() / 2
    assert middle_s[-1] > 5
    # The intensity rises by 1 g/kWh every second: its mean over an interval is its value at the middle, ± .5.
    assert dynamic["intensity_g_per_kwh"].to_numpy() == pytest.approx(middle_s, abs=1)
    assert "Counted: dynamic" in run.data.tags["boundary"]
    assert "embodied_kg or lifetime_years of node-high, node-medium, node-green" in run.data.tags["boundary"]
    assert run.data.metrics["carbon_total_g_low"] < run.data.metrics["carbon_total_g"]


@pytest.mark.full
def test_without_records_of_each_request_the_figures_are_the_same(tmp_path: Path) -> None:
    simulated = (*SIMULATED, "workload=poisson",
                 "workload.duration_s=3", "partitioner=explicit")  # fmt: skip
    for kept in ("true", "false"):
        outcome = carbonedge(tmp_path, *simulated, f"per_request={kept}")
        assert outcome.code == 0, outcome.errors
    refused = carbonedge(tmp_path, *simulated, "per_request=false", "oracle=true")
    assert refused.errors.startswith("error: oracle: it needs the records of each request")
    without, whole = runs(tmp_path)
    assert whole.data.params["per_request"] == "true"
    timed = "scheduling_us_per_task"
    figures = [{k: v for k, v in run.data.metrics.items() if k != timed} for run in (whole, without)]
    assert figures[0] == pytest.approx(figures[1])
    artifacts = {artifact.path for artifact in client(tmp_path).list_artifacts(without.info.run_id)}
    assert "records.json" not in artifacts
    ledger = table(tmp_path, without.info.run_id, "ledger.json")
    assert set(ledger["request"]) == {-1}
    assert ledger["carbon_g"].sum() == pytest.approx(figures[1]["carbon_total_g"])


def weights(directory: Path, layer: str, factor: float) -> str:
    """The override for a file with the model's weights, where those of one layer are multiplied."""
    state = configured("model", "mobilenetv4_conv_small", input_size=64).build().state_dict()
    state[layer] *= factor
    torch.save(state, directory / "weights.pt")
    return f"model.weights={directory}/weights.pt"


@pytest.mark.full
@pytest.mark.parametrize("others", [[], ["action=profile"], ["action=validate"]])
def test_weights_without_a_finite_answer_are_refused_before_anything_runs(
    tmp_path: Path, others: list[str]
) -> None:
    broken = weights(tmp_path, "bn1.running_var", -1.0)
    refused = carbonedge(tmp_path, *SMALL, broken, *others)
    assert refused.code == 2
    assert refused.errors.startswith(
        "error: model.weights: mobilenetv4_conv_small gives answers that are not finite (NaN or infinity, "
        "first from bn1 (BatchNormAct2d)); check that the weights are this model's own and undamaged"
    )
    assert refused.errors.count("\n") == 1
    assert not (tmp_path / "mlflow.db").exists() or runs(tmp_path) == []


@pytest.mark.full
def test_a_run_whose_compression_overflows_fails_after_it_is_logged(tmp_path: Path) -> None:
    split = ("partitioner=explicit", "partitioner.devices=[node-high,node-green]", "partitioner.cuts=[0.02]")
    large = weights(tmp_path, "conv_stem.weight", 1e6)
    whole = carbonedge(tmp_path, *SMALL, large, *split)
    assert whole.code == 0, whole.errors
    failed = carbonedge(tmp_path, *SMALL, large, *split, "compression=float16")
    assert failed.code == 2
    line = (
        "error: 4 of 4 answers are not finite (NaN or infinity), although those of the unsplit model are; "
        "choose another compression than float16"
    )
    assert failed.errors.splitlines()[0] == line
    run, finished = runs(tmp_path)
    assert (finished.info.status, finished.data.metrics["top1_agreement"]) == ("FINISHED", 1)
    assert (run.info.status, run.data.metrics["top1_agreement"]) == ("FAILED", 0)
    assert "not finite" in run.data.tags["failure"]


@pytest.mark.full
def test_a_working_directory_of_hydras_changes_no_path(tmp_path: Path) -> None:
    """One store, one outbox and one profile where the command was given."""
    done = carbonedge(
        tmp_path, "-m", *SIMULATED, "hydra.job.chdir=true", "scheduler=green,fastest", "workload.requests=5"
    )
    assert done.code == 0, done.errors
    assert [*tmp_path.rglob("mlflow.db")] == [tmp_path / "mlflow.db"]
    assert len(runs(tmp_path)) == 3
    assert not [*tmp_path.rglob("outbox")]
