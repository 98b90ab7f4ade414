"""One sweep from its settings to its report, in a small real Hydra app."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hydra.errors import InstantiationException
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import Plan
from pipeline.planning.exact_front import exact_front
from pipeline.search.studies.sweep_trial import SweepTrial
from tests.search.conftest import Multirun, PricedTrial, history, runs


def brute_force_front(trials: Sequence[SweepTrial]) -> set[str]:
    rows = {t.results[0].run_id: tuple(t.metrics.values()) for t in trials if t.results}
    return {
        run_id
        for run_id, (x, y) in rows.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in rows.values())
    }


def hypervolume_by_steps(trials: Sequence[SweepTrial]) -> float:
    """Area between front and reference (worst × 1.1), summed over the steps of the staircase."""
    points = np.array([list(t.metrics.values()) for t in trials if t.results])
    right, floor = points.max(axis=0) * 1.1
    area = 0.0
    for x, y in sorted(points.tolist(), reverse=True):
        lowest = points[points[:, 0] <= x][:, 1].min()
        area += (right - x) * (floor - min(y, lowest))
        right = x
    return area


def test_a_grid_runs_the_product_under_one_parent(multirun: Multirun, root: Path) -> None:
    trials = multirun("scheduler=performance,green", "partitioner.cuts.0=0.1,0.5", "partitioner.stages=1")
    assert [trial.point for trial in trials] == [
        {"scheduler": scheduler, "partitioner.cuts.0": cut}
        for scheduler in ("performance", "green")
        for cut in (0.1, 0.5)
    ]
    assert trials[3].metrics == pytest.approx({"carbon_g_per_inf": 1.1, "latency_ms_p50": 250.1})
    [parent], children = runs(root)
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert len(children) == 4
    assert parent.info.status == "FINISHED"
    assert parent.data.params["scheduler"] == "performance,green"
    assert parent.data.metrics["trials_complete"] == 4
    assert parent.data.metrics["front_size"] == 2


def test_a_multirun_without_anything_to_vary_is_one_job(multirun: Multirun) -> None:
    assert [trial.point for trial in multirun()] == [{}]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scheduler.carbon_weigth=0,1", r"scheduler\.carbon_weigth"),
        ("partitioner.cuts.7=0.1,0.2", r"partitioner\.cuts\.7=0\.1 .*out of range"),
        ("scheduler=green,gren", r"scheduler/gren.*performance"),
        ("scheduler.carbon_weight=interval(0,1)", r"scheduler\.carbon_weight=interval\(0,1\).*grid"),
        ("sweep.sampler=anneal", r"sweep\.sampler: unknown 'anneal'"),
        ("sweep.batch_size=0", r"sweep\.batch_size: must be a whole number from 1 to 1000000"),
        ("sweep.objectives.latency_ms_p50=min", "minimize or maximize"),
        ("sweep.n_trials=abc", r"sweep\.n_trials: must be a whole number from 1 to 1000000 \(it is 'abc'\)"),
        ("sweep.n_trials=true", r"sweep\.n_trials: must be a whole number"),
        ("sweep.seed=x", r"sweep\.seed: must be a whole number from 0 to 9"),
        ("sweep.seed=-1", r"sweep\.seed: must be a whole number from 0 to 9"),
        ("sweep.max_failure_rate=1.5", r"sweep\.max_failure_rate must be a number from 0 to 1"),
        ("sweep.resume=maybe", r"sweep\.resume must be true or false"),
        ("+sweep.constraints.joy=1", r"sweep\.constraints: .*joy"),
        (
            "+sweep.constraints.latency_ms_p50=few",
            r"sweep\.constraints\.latency_ms_p50: must be a num",
        ),
        ("sweep.enqueue=3", r"sweep\.enqueue must be a list of mappings \(it is 3\)"),
        ("sweep.enqueue=[3]", r"sweep\.enqueue\.0 must be a mapping \(it is 3\)"),
        ("sweep.compare=5", r"sweep\.compare: must map keys to values \(it is 5\)"),
        ("+sweep.compare.green=5", r"sweep\.compare\.green must be a mapping \(it is 5\)"),
        ("+sweep.compare={a:{},b:{},c:{}}", r"sweep\.compare: two points are compared.*\(it has a, b, c\)"),
        ("+sweep.published.paper=5", r"sweep\.published\.paper must be a mapping \(it is 5\)"),
        ("sweep.objectives=carbon", r"sweep\.objectives: must map keys to values"),
        ("sweep.sampler=[tpe]", r"sweep\.sampler: unknown \['tpe'\]"),
        ("sweep.storage=7", r"sweep\.storage must be a text"),
        ("sweep.warm_start=almost sweep.sampler=tpe", r"sweep\.warm_start: unknown 'almost'"),
        ("sweep.warm_start=exact", r"sweep\.warm_start: a grid has no first trials"),
        ("+sweep.n_trails=3", r"sweep: unknown key 'n_trails' \(known: .*n_trials"),
        ("+sweep.variants.a.n_trails=3", r"sweep\.variants\.a: unknown key 'n_trails'"),
        ("+sweep.variants.a.n_trials=0", r"sweep\.n_trials: must be a whole number"),
        ("sweep.sampler=tpe,random", r"sweep\.sampler=tpe,random: a setting of the sweep cannot vary"),
        ("partitioner.stages=range(1,3,0)", r"stages=range\(1,3,0\): the step must not be 0"),
        ("sweep.sampler=tpe partitioner.cuts.0=interval(0,inf)", r"interval\(0,inf\): both ends"),
        ("sweep=pareto sweep.warm_start=exact", r"sweep\.warm_start: the config builds no trial"),
        ("sweep.sampler=tpe", r"sweep\.params: a study needs something to vary"),
        ("+sweep.objectives.joy=maximize", r"sweep\.objectives: .*joy"),
        ("sweep=pareto partitioner.cutz=0.1,0.5", r"partitioner\.cutz"),
    ],
)
def test_a_bad_sweep_ends_before_a_run_is_opened(
    multirun: Multirun, root: Path, override: str, message: str
) -> None:
    with pytest.raises((ConfigError, InstantiationException)) as caught:
        multirun(*override.split())
    error = caught.value if isinstance(caught.value, ConfigError) else caught.value.__cause__
    assert isinstance(error, ConfigError)
    assert re.search(message, str(error))
    assert "\n" not in str(error)
    assert runs(root) == ([], [])


def test_a_baseline_must_vary(multirun: Multirun) -> None:
    with pytest.raises(ConfigError, match=r"sweep.baseline.fleet: does not vary \(keys that do: scheduler"):
        multirun("scheduler=performance,green", "+sweep.baseline.fleet=pair")
    with pytest.raises(ConfigError, match=r"sweep.baseline.partitioner.stages: 3 is not among .* \(1, 2\)"):
        multirun("partitioner.stages=1,2", "+sweep.baseline.partitioner.stages=3")


def test_trials_of_different_boundaries_are_not_compared(multirun: Multirun) -> None:
    with pytest.raises(ConfigError, match=r"accounting.reserved: varies, and carbon_g_per_inf cannot be"):
        multirun("+accounting.reserved=used,fleet")


def test_repetitions_are_varied_once(multirun: Multirun) -> None:
    with pytest.raises(ConfigError, match=r"repeat: sweep.repeats=3 varies it already"):
        multirun("repeat=0,1", "sweep.repeats=3")


def test_pareto_yaml_end_to_end(multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = multirun("sweep=pareto", "sweep.n_trials=12")

    assert [t.point["partitioner.devices.0"] for t in trials[:3]] == ["big", "little", "auto"]
    assert [t.point["partitioner.stages"] for t in trials[:3]] == [1, 1, 1]
    assert trials[2].point["scheduler.carbon_weight"] == 0.5
    for trial in trials:
        assert trial.point["partitioner.stages"] in (1, 2, 3)
        stages = trial.point["partitioner.stages"]
        assert ("partitioner.cuts.0" in trial.point) == (stages in (2, 3))
        assert (
            ("partitioner.cuts.1" in trial.point) == ("partitioner.devices.2" in trial.point) == (stages == 3)
        )
        assert 0.05 <= float(trial.point.get("partitioner.cuts.1", 0.5)) <= 0.95
        assert trial.point.get("partitioner.devices.2", "auto") in ("auto", "big", "little")

    [parent], children = runs(root)
    assert parent.data.metrics["trials_complete"] == len(children) == len(trials) == 12
    [study] = (root / "studies").glob("*.journal")
    assert study.stem.startswith("tpe-")
    assert all(run.data.params["partitioner.cuts.1"] == "–" for run in children
               if run.data.tags["trial"] in "012")  # fmt: skip
    front = {run.info.run_id for run in children if run.data.tags.get("pareto") == "true"}
    assert front == brute_force_front(trials)
    assert parent.data.metrics["front_size"] == len(front)

    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [point.step for point in history] == list(range(12))
    volumes = [point.value for point in history]
    assert volumes == sorted(volumes)
    assert volumes[-1] == pytest.approx(hypervolume_by_steps(trials))

    artifacts = Path(
        mlflow.artifacts.download_artifacts(run_id=parent.info.run_id, tracking_uri=client.tracking_uri)
    )
    assert {"front.html", "front.png", "front.json", "trials.json", "multirun.yaml"} <= {
        file.name for file in artifacts.iterdir()
    }
    table = json.loads((artifacts / "trials.json").read_text())
    assert {"number", "run_id", "carbon_weight", "cuts", "devices", "carbon_g_per_inf"} <= set(
        table["columns"]
    )
    assert len(table["data"]) == 12

    out = capsys.readouterr().out
    assert "12/12 trials  best carbon_g_per_inf " in out
    assert f"mlflow ui --backend-store-uri sqlite:///{root}/mlflow.db" in out


def test_the_space_follows_fixed_and_narrowed_overrides(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "sweep=pareto",
        "sweep.n_trials=4",
        "partitioner.stages=2",
        "partitioner.cuts.0=interval(0.4,0.6)",
    )
    assert all("partitioner.stages" not in trial.point for trial in trials)
    assert all(0.4 <= float(trial.point["partitioner.cuts.0"]) <= 0.6 for trial in trials)
    assert {trial.point["partitioner.devices.0"] for trial in trials} <= {"auto", "big", "little"}


@pytest.mark.full
def test_a_seed_repeats_a_study_and_another_does_not(multirun: Multirun, root: Path) -> None:
    def points(seed: int, name: str) -> list[dict[str, Any]]:
        settings = [
            "sweep.n_trials=5",
            f"sweep.seed={seed}",
            f"sweep.study_name={name}",
        ]
        return [trial.point for trial in multirun("sweep=pareto", *settings)]

    assert points(1, "a") == points(1, "b")
    assert points(1, "a")[:1] != points(2, "c")[:1]


def test_other_objectives_and_directions(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "sweep.sampler=tpe",
        "sweep.n_trials=6",
        "sweep.objectives={carbon_g_per_inf:maximize,latency_ms_p50:null}",
        "scheduler.carbon_weight=interval(0,1)",
    )
    _, children = runs(root)
    tagged = {run.info.run_id for run in children if "pareto" in run.data.tags}
    best = max(trials, key=lambda trial: trial.metrics.get("carbon_g_per_inf", -math.inf))
    assert tagged == {best.results[0].run_id}


def test_a_grid_without_an_objective_says_that_it_has_no_front(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("scheduler=broken", "partitioner.stages=1,2")
    out = capsys.readouterr().out
    assert "no front: no trial has a finite carbon_g_per_inf and latency_ms_p50\n" in out


def test_what_breaks_a_constraint_is_not_on_the_front(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("scheduler.carbon_weight=0.1,0.5,0.9", "+sweep.constraints.latency_ms_p50=260")
    _, children = runs(root)
    on_front = [child for child in children if child.data.tags.get("pareto") == "true"]
    tagged = {child.data.metrics["latency_ms_p50"] for child in on_front}
    assert len(tagged) == 2
    assert max(tagged) <= 260
    assert "2 of 3 trials meet the constraints" in capsys.readouterr().out


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.full), 3])
def test_a_warm_started_study_tries_the_exact_front_first_and_has_no_regret(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str], batch_size: int
) -> None:
    front = exact_front(PricedTrial.known)
    assert max(plan.num_stages for plan in front.plans) <= 3
    settings = ("sweep.warm_start=exact", "sweep.n_trials=20", f"sweep.batch_size={batch_size}")
    trials = priced("sweep=pareto", *settings)
    ran = [Plan(**result.plan) for trial in trials for result in trial.results if result.plan]
    assert len(ran) == 20
    first = 3 + len(front.plans) - 2  # fast, clean and auto are enqueued, of which two are on the front
    assert {*ran[:first]} == {*front.plans}
    assert len({*ran[3:first]}) == first - 3
    [parent], _ = runs(root)
    regret, volume = (history(root, parent, key) for key in ("regret_to_exact", "hypervolume"))
    assert list(regret) == list(volume) == list(range(20))
    assert all(0 <= value <= 1 for value in regret.values())
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(regret.values()))
    assert all(after >= before * (1 - 1e-12) for before, after in itertools.pairwise(volume.values()))
    assert regret[0] > 0.01
    assert regret[19] == pytest.approx(0, abs=1e-12)
    assert parent.data.params["warm_start"] == "exact"
    said = capsys.readouterr().out
    assert (
        f"Tried first: {first - 3} of the {len(front.plans)} plans of the exact front (2 in sweep.enqueue)\n"
        in said
    )
    assert f"Regret to the exact front ({len(front.plans)} plans): 0.00%\n" in said


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("fleet=two,two", "the trials have no common front, as fleet varies"),
        ("++sweep.objectives.throughput_rps=maximize", "the cost model cannot maximize throughput_rps"),
        ("+action=profile", "action=profile runs no plan"),
    ],
)
def test_where_one_exact_front_would_not_do_there_is_no_regret(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str], overrides: str, reason: str
) -> None:
    with suppress(ConfigError):
        priced("scheduler.carbon_weight=0,1", overrides)
    assert f"no regret to the exact front: {reason}" in capsys.readouterr().out
    [parent], _ = runs(root)
    assert "regret_to_exact" not in parent.data.metrics


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["partitioner.cuts.0=7"], "partitioner.cuts.0: a cut is a fraction"),
        (["+partitioner.limits={carbon_g: 1}"], "unexpected keyword argument 'limits'"),
    ],
)
def test_what_no_trial_can_be_built_with_ends_before_the_first(
    priced: Multirun, root: Path, overrides: list[str], told: str
) -> None:
    """Each trial failed of it, and left a run."""
    with pytest.raises(InstantiationException, match=told):
        priced("scheduler.carbon_weight=0,1", *overrides)
    assert not (root / "mlflow.db").exists() or runs(root) == ([], [])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("partitioner=monolithic", "partitioner=monolithic cannot spell out a plan of the exact front; conf"),
        ("partitioner=explicit", "the sweep's space holds none of the"),
        ("fleet=two,two", "the trials have no common front, as fleet varies"),
    ],
)
def test_a_warm_start_that_is_not_possible_is_refused_in_one_line(
    priced: Multirun, root: Path, override: str, reason: str
) -> None:
    study = ("sweep.sampler=tpe", "sweep.warm_start=exact", "scheduler.carbon_weight=interval(0,1)")
    with pytest.raises(ConfigError, match=re.escape(f"sweep.warm_start: {reason}")) as caught:
        priced(*study, override)
    assert "\n" not in str(caught.value)
    assert runs(root) == ([], [])


@pytest.mark.full
def test_two_points_are_compared_beside_what_was_published_for_the_fleet(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first three trials are big (monolithic), little, and auto (green)."""
    for fleet, sources in (("other", ["here"] * 3), ("paper", ["here"] * 3 + ["paper"] * 3)):
        multirun("sweep=pareto", "sweep.n_trials=3", f"+fleet.name={fleet}")
        parent = runs(root)[0][-1]
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        found = json.loads(Path(client.download_artifacts(parent.info.run_id, "comparison.json")).read_text())
        rows = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
        assert [row["source"] for row in rows] == sources
        assert [row["configuration"] for row in rows[:3]] == ["monolithic", "green", "ratio"]
        assert rows[2]["carbon_g_per_inf"] == pytest.approx(
            rows[1]["carbon_g_per_inf"] / rows[0]["carbon_g_per_inf"]
        )
        printed = "Green beside monolithic, here and in the paper" in capsys.readouterr().out
        assert printed == (fleet == "paper")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "{green: 'carbonedge.csv:x'}",
            r"must have a row for each of monolithic, green, .* \(it has green\)",
        ),
        ("{monolithic: 'carbonedge.csv:x', green: 'carbonedge.csv:y'}", r"has 0 rows named 'x'"),
        ("{monolithic: 'none.csv:x', green: 'none.csv:y'}", r"none.csv:x: no such file"),
    ],
)
def test_published_rows_that_are_not_there_are_refused(
    multirun: Multirun, root: Path, row: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"sweep\.published\.lab: .*{message}"):
        multirun("sweep=pareto", "+fleet.name=lab", f"+sweep.published.lab={row}")
    assert runs(root) == ([], [])
