"""The sweeper in a small real Hydra app: conf/sweep, journal, SQLite are real; only the task is analytic."""

import errno
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import numpy as np
import pytest
from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf

from partitioners.explicit import Explicit
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.domain.trial_result import TrialResult
from pipeline.host.processes import this_process
from pipeline.planning.cost import predict
from pipeline.planning.exact_front import exact_front
from pipeline.planning.problem import Problem
from pipeline.search import hydra_plugin, study, sweeper
from pipeline.search.exact_reference import ExactReference
from pipeline.search.search_space import SearchSpace
from pipeline.search.settings import Settings
from pipeline.search.study import SweepTrial
from pipeline.tracking import mlflow_run
from pipeline.tracking.tracking import Tracking
from tests.conftest import CONF, MakeProblem

APP = {
    "config.yaml": """
        defaults: [_self_, fleet: pair, partitioner: explicit, scheduler: green, sweep: none,
                   override hydra/sweeper: carbonedge]
        hydra: {sweep: {dir: '${root}/sweep'}, hydra_logging: {root: {level: WARNING}}}
        root: ???
        repeat: 0
        workload: {seed: "${repeat}", concurrency: 1}
        tracking: {_target_: pipeline.tracking.tracking.Tracking, uri: 'sqlite:///${root}/mlflow.db',
                   experiment: test, outbox: '${root}/outbox', parent_run_id: null, trial: null, unused: []}
        fail_below: -1
    """,
    "fleet/pair.yaml": "{devices: {big: {}, little: {}}, monolithic: big}",
    "fleet/two.yaml": "{devices: {fast: {}, clean: {}}, monolithic: fast}",
    "partitioner/other.yaml": "{stages: 2, cuts: [0.33, 0.67], devices: [auto, auto, auto]}",
    "partitioner/explicit.yaml": "{stages: 2, cuts: [0.33, 0.67], devices: [auto, auto, auto]}",
    "scheduler/green.yaml": "carbon_weight: 0.5",
    "scheduler/performance.yaml": "carbon_weight: 0.05",
    "scheduler/broken.yaml": "carbon_weight: .nan",
}
Multirun = Callable[..., Sequence[SweepTrial]]


def metrics_of(cfg: DictConfig) -> dict[str, float]:
    """Carbon falls and latency rises with the carbon weight; a cut away from the middle costs both."""
    weight, cut = float(cfg.scheduler.carbon_weight), float(cfg.partitioner.cuts[0])
    waste = (cut - 0.5) ** 2 + 0.1 * cfg.partitioner.stages + 0.1 * (cfg.partitioner.devices[0] == "big")
    luck = 0.25 * cfg.workload.seed
    figures = {"energy_j_per_inf": 2.0, "requests_ok": 10.0} if luck else {}
    carbon_g = 1.5 - weight + waste + luck
    return {"carbon_g_per_inf": carbon_g, "latency_ms_p50": 200 + 100 * weight + waste + luck, **figures}


class PricedTrial:
    """Stands at the config's root as pipeline.trial.Trial does; the cost model is its measurement."""

    known: ClassVar[Problem]

    def __init__(self, **config: Any) -> None:
        self.partitioner = Explicit(**config["partitioner"])

    def problem(self) -> Problem:
        return self.known

    def plan(self) -> Plan:
        plan = self.partitioner.partition(self.known)
        return replace(plan, devices=tuple("clean" if d == "auto" else d for d in plan.devices))


def task(cfg: DictConfig) -> TrialResult:
    if "_target_" in cfg:
        plan = instantiate(sweeper.trial_config(cfg)).plan()
        cost = predict(PricedTrial.known, [plan])
        metrics = {
            "carbon_g_per_inf": float(cost.carbon_g[0]),
            "latency_ms_p50": float(cost.latency_s[0]) * 1e3,
        }
        with instantiate(cfg.tracking).open_run("trial", {}, {}) as run:
            return TrialResult(run.run_id, "trial", metrics, {}, asdict(plan))
    if cfg.partitioner.cuts[0] < cfg.fail_below:
        raise ConfigError(f"partitioner.cuts: {cfg.partitioner.cuts[0]}\nis too small")
    with instantiate(cfg.tracking).open_run("trial", {}, {}) as run:
        metrics = metrics_of(cfg)
        run.log_metrics(metrics)
        labels = {"cuts": str(cfg.partitioner.cuts[0]), "devices": cfg.partitioner.devices[0]}
        return TrialResult(run.run_id, "trial", metrics, labels | {"scheduler": "s", "partitioner": "p"})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # where MLflow will put the artifacts
        Tracking(f"sqlite:///{path}", "test").check()
    return path


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path)
    for name, text in APP.items():
        file = tmp_path / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copytree(CONF / "sweep", tmp_path / "conf" / "sweep")
    return tmp_path


@pytest.fixture
def multirun(root: Path, monkeypatch: pytest.MonkeyPatch) -> Multirun:
    """`app -m overrides`, in this process and a directory of its own."""
    monkeypatch.chdir(root)
    version.setbase("1.3")
    hydra_plugin.register()

    def go(*overrides: str) -> Any:
        hydra = Hydra.create_main_hydra2("app", create_config_search_path(str(root / "conf")))
        try:
            settings = ["hydra.mode=MULTIRUN", f"root={root}"]
            return hydra.multirun("config", task, [*settings, *overrides], with_log_configuration=False)
        finally:
            GlobalHydra.instance().clear()

    return go


def runs(root: Path) -> tuple[list[Run], list[Run]]:
    """Parents and children in the store, oldest first."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def brute_force_front(trials: Sequence[SweepTrial]) -> set[str]:
    rows = {t.results[0].run_id: tuple(t.metrics.values()) for t in trials if t.results}
    return {
        run_id
        for run_id, (x, y) in rows.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in rows.values())
    }


# --- repetitions ----------------------------------------------------------------------------------


def test_trials_that_differ_by_seed_alone_are_repetitions(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = multirun(
        "scheduler=performance,green", "scheduler.carbon_weight=0.1,0.9", "workload.seed=1,2,3",
        "+sweep.baseline.scheduler=performance", "partitioner.stages=1",
    )  # fmt: skip
    assert len(trials) == 12
    [parent], children = runs(root)
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    summary = json.loads(Path(client.download_artifacts(parent.info.run_id, "summary.json")).read_text())
    rows = [dict(zip(summary["columns"], row, strict=True)) for row in summary["data"]]
    assert [(row["scheduler"], row["carbon_weight"], row["repeats"]) for row in rows] == [
        ("performance", 0.1, 3), ("performance", 0.9, 3), ("green", 0.1, 3), ("green", 0.9, 3),
    ]  # fmt: skip
    waste = (0.33 - 0.5) ** 2 + 0.1
    for row in rows:
        # Seeds 1, 2 and 3 add .25, .5 and .75; the means of resamples stay within.
        assert row["carbon_g_per_inf"] == pytest.approx(1.5 - row["carbon_weight"] + waste + 0.5)
        low, high = (row[f"carbon_g_per_inf_{end}"] - row["carbon_g_per_inf"] for end in ("lo", "hi"))
        assert -0.2501 < low < -0.15
        assert 0.15 < high < 0.2501
    # The weight decides, and performance of the same weight is no better: nothing sets green apart.
    assert [row["change"] for row in rows] == [None, None, 0, 0]
    # Not only objectives: 2 J whatever the seed.
    assert {
        (row["energy_j_per_inf"], row["energy_j_per_inf_lo"], row["energy_j_per_inf_hi"]) for row in rows
    } == {(2, 2, 2)}
    tagged = [child for child in children if child.data.tags.get("pareto") == "true"]
    assert len(tagged) == 12
    assert parent.data.metrics["front_size"] == 4
    printed = capsys.readouterr().out
    assert "Mean of 3, and the mean's 95% interval" in printed
    assert "carbon against scheduler=performance" in printed
    assert [row["p_value"] for row in rows] == [None, None, 1, 1]
    # Equals with the same intervals: neither is surely better in anything.
    assert "On the front wherever each value lies in its interval: none" in printed
    assert not [child for child in children if "pareto_confident" in child.data.tags]


def test_what_is_on_the_front_beyond_chance_is_tagged(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights .1 and .9 trade carbon for latency by more than the seeds do."""
    multirun("scheduler.carbon_weight=0.1,0.9", "sweep.repeats=3", "partitioner.stages=1")
    _, children = runs(root)
    assert [child.data.tags.get("pareto_confident") for child in children] == ["true"] * 6
    assert "On the front wherever each value lies in its interval: 0.1, 0.9" in capsys.readouterr().out


def test_each_trial_of_a_study_is_repeated(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Repeats 0, 1 and 2 add 0, .25 and .5 to both objectives: on average .25."""
    study = ("scheduler.carbon_weight=interval(0,1)", "partitioner.stages=1", "sweep.sampler=random")
    more = (f"sweep.storage={root}/s.journal", "sweep.study_name=s", "sweep.repeats=3")
    multirun(*study, *more, "sweep.n_trials=2")
    trials = multirun(*study, *more, "sweep.n_trials=4")
    assert [len(trial.results) for trial in trials] == [3, 3, 3, 3]
    waste = (0.33 - 0.5) ** 2 + 0.1
    for trial in trials:
        weight = float(trial.point["scheduler.carbon_weight"])
        assert trial.metrics["carbon_g_per_inf"] == pytest.approx(1.5 - weight + waste + 0.25)
    [parent], children = runs(root)
    assert len(children) == 12
    assert parent.data.params["repeats"] == "3"
    assert all(child.data.tags["trial"] in "0123" for child in children)
    assert parent.data.metrics["trials_complete"] == 4
    assert parent.data.metrics["front_size"] == 4
    assert all(child.data.tags["pareto"] == "true" for child in children)
    printed = capsys.readouterr().out
    assert "On the front wherever each value lies in its interval: " in printed
    assert re.search(r"\d to \d", printed)
    with pytest.raises(ConfigError, match=r"sweep.repeats was 3 and is 2"):
        multirun(*study, *more, "sweep.n_trials=5", "sweep.repeats=2")


def test_repetitions_are_varied_once(multirun: Multirun) -> None:
    with pytest.raises(ConfigError, match=r"repeat: sweep.repeats=3 varies it already"):
        multirun("repeat=0,1", "sweep.repeats=3")


def test_one_failed_repetition_fails_the_trial(multirun: Multirun) -> None:
    trials = multirun(
        "partitioner.cuts.0=0.1,0.5", "sweep.repeats=2", "partitioner.stages=1", "fail_below=0.2"
    )
    assert [(len(trial.results), trial.failure) for trial in trials] == [
        (0, "partitioner.cuts: 0.1 is too small"),
        (2, ""),
    ]


def test_a_baseline_must_vary(multirun: Multirun) -> None:
    with pytest.raises(ConfigError, match=r"sweep.baseline.fleet: does not vary \(what does: scheduler\)"):
        multirun("scheduler=performance,green", "+sweep.baseline.fleet=pair")
    with pytest.raises(ConfigError, match=r"sweep.baseline.partitioner.stages: 3 is not among .* \(1, 2\)"):
        multirun("partitioner.stages=1,2", "+sweep.baseline.partitioner.stages=3")


# --- grids ----------------------------------------------------------------------------------------


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
        ("sweep.batch_size=0", r"sweep\.batch_size must be a whole number >= 1"),
        ("sweep.objectives.latency_ms_p50=min", "minimize or maximize"),
        ("sweep.n_trials=abc", r"sweep\.n_trials must be a whole number >= 1 \(it is 'abc'\)"),
        ("sweep.n_trials=true", r"sweep\.n_trials must be a whole number"),
        ("sweep.seed=x", r"sweep\.seed must be a whole number >= 0, or null"),
        ("sweep.seed=-1", r"sweep\.seed must be a whole number >= 0, or null"),
        ("sweep.max_failure_rate=1.5", r"sweep\.max_failure_rate must be a number from 0 to 1"),
        ("sweep.resume=maybe", r"sweep\.resume must be true or false"),
        ("+sweep.constraints.joy=1", r"sweep\.constraints: .*joy"),
        (
            "+sweep.constraints.latency_ms_p50=few",
            r"sweep\.constraints\.latency_ms_p50: must be a num",
        ),
        ("sweep.enqueue=3", r"sweep\.enqueue must be a list of mappings \(it is 3\)"),
        ("sweep.enqueue=[3]", r"sweep\.enqueue\.0 must be a mapping \(it is 3\)"),
        ("sweep.compare=5", r"sweep\.compare must be a mapping \(it is 5\)"),
        ("+sweep.compare.green=5", r"sweep\.compare\.green must be a mapping \(it is 5\)"),
        ("sweep.objectives=carbon", r"sweep\.objectives must be a mapping"),
        ("sweep.sampler=[tpe]", r"sweep\.sampler: unknown \['tpe'\]"),
        ("sweep.storage=7", r"sweep\.storage must be a text"),
        ("sweep.warm_start=almost sweep.sampler=tpe", r"sweep\.warm_start: unknown 'almost'"),
        ("sweep.warm_start=exact", r"sweep\.warm_start: a grid has no first trials"),
        ("+sweep.n_trails=3", r"sweep: unknown key 'n_trails' \(known: .*n_trials"),
        ("+sweep.variants.a.n_trails=3", r"sweep\.variants\.a: unknown key 'n_trails'"),
        ("+sweep.variants.a.n_trials=0", r"sweep\.n_trials must be a whole number"),
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


def test_failed_jobs_are_counted_and_the_grid_goes_on(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = multirun("partitioner.cuts.0=0.1,0.2,0.6", "fail_below=0.5")
    assert [trial.failure for trial in trials] == [
        "partitioner.cuts: 0.1 is too small",
        "partitioner.cuts: 0.2 is too small",
        "",
    ]
    [parent], children = runs(root)
    assert (parent.data.metrics["trials_complete"], parent.data.metrics["trials_failed"]) == (1, 2)
    assert len(children) == 1
    assert "trial 0 failed: partitioner.cuts: 0.1 is too small\n" in capsys.readouterr().out


def test_a_sweep_of_failures_ends_with_the_first_one_s_reason(multirun: Multirun, root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"all 2 trials failed; the first: partitioner.cuts: 0.1 is too small"
    ):
        multirun("partitioner.cuts.0=0.1,0.2", "fail_below=0.5")
    [parent], _ = runs(root)
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["trials_failed"] == 2


# --- studies --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("fleet", sorted(path.stem for path in (CONF / "fleet").glob("*.yaml")))
def test_pareto_yaml_enqueues_every_device_of_any_fleet(fleet: str) -> None:
    hydra_plugin.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["sweep=pareto", f"fleet={fleet}"])
    settings = OmegaConf.to_container(config.sweep, resolve=True)
    assert isinstance(settings, dict)
    space = SearchSpace.parse(settings["params"])
    *alone, green = [point for entry in settings["enqueue"] for point in space.points("enqueue", entry)]
    assert alone == [
        {"partitioner.stages": 1, "partitioner.devices.0": device} for device in config.fleet.devices
    ]
    assert green == settings["compare"]["green"]
    assert space.points("compare", settings["compare"]["monolithic"])[0] in alone


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_an_experiment_composes_and_its_sweeps_are_valid(experiment: str) -> None:
    hydra_plugin.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"experiment={experiment}", "sweep.n_trials=7"], return_hydra_config=True)
    assert config.hydra.mode is RunMode.MULTIRUN
    each = Settings.of(OmegaConf.to_container(config.sweep, resolve=True)).each()
    assert {one.n_trials for one in each.values()} == {7}
    assert len({(one.sampler, one.warm_start) for one in each.values()}) == len(each)


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


def test_a_study_goes_on_to_the_points_of_an_undisturbed_one(multirun: Multirun, root: Path) -> None:
    options = ["sweep=pareto", "+sweep.sampler_options.n_startup_trials=4"]
    undisturbed = multirun(*options, "sweep.n_trials=10", "sweep.study_name=whole")
    storage = f"sweep.storage={root}/two.journal"
    multirun(*options, storage, "sweep.n_trials=6")
    both = multirun(*options, storage, "sweep.n_trials=10")
    assert [trial.point for trial in both] == [trial.point for trial in undisturbed]
    assert len({str(trial.point) for trial in both}) == 10
    parents, children = runs(root)
    assert [parent.data.metrics["trials_complete"] for parent in parents] == [10, 10]
    assert len(children) == 20
    assert not (root / "outbox").exists()


def test_nan_and_errors_fail_their_trials_only(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "sweep.sampler=random",
        "sweep.seed=1",
        "sweep.n_trials=8",
        "scheduler=green,broken",
        "partitioner.cuts.0=interval(0,1)",
        "fail_below=0.4",
    )
    assert len(trials) == 8
    for trial in trials:
        if float(trial.point["partitioner.cuts.0"]) < 0.4:
            assert trial.failure.endswith("is too small")
        elif trial.point["scheduler"] == "broken":
            assert trial.failure == "no finite carbon_g_per_inf, latency_ms_p50"
        else:
            assert trial.failure == ""
    assert len({trial.failure[-9:] for trial in trials}) == 3
    [parent], _ = runs(root)
    assert parent.data.metrics["trials_failed"] == sum(bool(trial.failure) for trial in trials)


def test_what_a_full_disk_took_is_run_again(
    multirun: Multirun, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sweep.sampler=random", "sweep.seed=1", "sweep.n_trials=4", "partitioner.cuts.0=interval(0,1)")
    write, written = Path.write_text, []

    def full(path: Path, text: str) -> int:
        if path.name == "ledger.json":
            written.append(path)
            if len(written) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text)

    def log(self: mlflow_run.Run, metrics: Any, step: int | None = None) -> None:
        self.log_text("", "ledger.json")
        log_metrics(self, metrics, step)

    log_metrics = mlflow_run.Run.log_metrics
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_run.Run, "log_metrics", log)
        patch.setattr(Path, "write_text", full)
        patch.setattr(study, "this_process", lambda: [*this_process()[:2], 0])  # which has died since
        with pytest.raises(ConfigError, match=r"cannot write to .*ledger.json: No space left on device"):
            multirun(*asked)
    trials = multirun(*asked)
    assert [(trial.number, trial.failure) for trial in trials] == [(number, "") for number in range(4)]
    [parent], children = runs(root)
    assert parent.data.metrics["trials_complete"] == 4
    assert sorted(run.info.status for run in children) == ["FAILED", *["FINISHED"] * 4]


def test_a_grid_without_an_objective_says_that_it_has_no_front(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("scheduler=broken", "partitioner.stages=1,2")
    out = capsys.readouterr().out
    assert "no front: no trial has a finite carbon_g_per_inf and latency_ms_p50\n" in out


def test_a_study_gives_up_where_more_trials_fail_than_may(multirun: Multirun, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"all 8 trials failed; the first: partitioner\.cuts"):
        multirun("sweep=pareto", "fail_below=2")
    few = r"3 of 8 trials failed, more than sweep.max_failure_rate=0.3 of them; the first: part"
    with pytest.raises(ConfigError, match=few):
        multirun(
            "sweep.sampler=random", "sweep.n_trials=8", "partitioner.cuts.0=interval(0,1)", "fail_below=0.5",
            "sweep.max_failure_rate=0.3",
        )  # fmt: skip
    parents, _ = runs(root)
    assert [parent.info.status for parent in parents] == ["FAILED", "FAILED"]


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


# --- against the exact front ----------------------------------------------------------------------


@pytest.fixture
def priced(multirun: Multirun, make_problem: MakeProblem, two_devices: Fleet) -> Multirun:
    """The app with a trial at its root that the cost model prices, on a fleet of two devices."""
    PricedTrial.known = make_problem(two_devices)
    return lambda *overrides: multirun(f"+_target_={__name__}.PricedTrial", "fleet=two", *overrides)


def history(root: Path, run: Run, key: str) -> dict[int, float]:
    points = MlflowClient(f"sqlite:///{root}/mlflow.db").get_metric_history(run.info.run_id, key)
    return {point.step: point.value for point in points}


@pytest.mark.parametrize("batch_size", [1, 3])
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
    assert f"Tried first: {first - 3} of the {len(front.plans)} plans of the exact front\n" in said
    assert f"Regret to the exact front ({len(front.plans)} plans): 0.00%\n" in said


def test_a_study_that_goes_on_logs_the_regret_of_all_its_trials_again(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("sweep=pareto", f"sweep.storage={root}/one.journal", "sweep.study_name=pareto")
    priced(*one, "sweep.n_trials=5")
    first = history(root, runs(root)[0][0], "regret_to_exact")
    priced(*one, "sweep.n_trials=8")
    [parent], _ = runs(root)
    second = history(root, parent, "regret_to_exact")
    assert "The study 'pareto' goes on: 5 of 8 trials are there" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"study 'pareto' is another: partitioner.stages was range\(1,4\) and"
    ):
        priced(*one, "partitioner.stages=1,2")
    with pytest.raises(
        ConfigError, match="is another: compression was not set and is int8; choose another name$"
    ):
        priced(*one, "+compression=int8")
    assert len(runs(root)[0]) == 1
    assert list(second) == list(range(8))
    assert {step: second[step] for step in first} == first


def test_begun_anew_where_asked_and_over_where_it_is_over(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1")
    first, again, anew = multirun(*grid), multirun(*grid), multirun(*grid, "sweep.resume=false")
    assert [trial.results for trial in first] == [trial.results for trial in again]
    assert {r.run_id for t in anew for r in t.results}.isdisjoint(r.run_id for t in first for r in t.results)
    assert len(runs(root)[0]) == 2
    assert len(list((root / "studies").glob("*.journal"))) == 2
    assert "goes on: 2 of 2 trials are there" in capsys.readouterr().out


def test_a_study_whose_runs_are_in_another_store_is_left_and_one_begun(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1")
    multirun(*grid)
    for turn in ("", " (2)"):
        [parent], _ = runs(root)
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        client.delete_run(parent.info.run_id)
        multirun(*grid)
        [anew], children = runs(root)
        assert anew.info.run_id != parent.info.run_id
        mine = [each for each in children if each.data.tags["mlflow.parentRunId"] == anew.info.run_id]
        assert len(mine) == 2
        assert any(each.data.tags.get("pareto") == "true" for each in mine)
        said = capsys.readouterr().out
        assert f"{turn}' are not in this MLflow store" in said
    multirun(*grid)
    assert "goes on: 2 of 2" in capsys.readouterr().out
    assert len(list((root / "studies").glob("*.journal"))) == 3


def test_another_sampler_or_seed_under_the_same_name_is_refused(multirun: Multirun) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1", "sweep.study_name=mine")
    multirun(*grid)
    with pytest.raises(ConfigError, match="'mine' is another: sweep.sampler was grid and is random"):
        multirun(*grid, "sweep.sampler=random")
    with pytest.raises(ConfigError, match="'mine' is another: sweep.seed was .* and is 5"):
        multirun(*grid, "sweep.seed=5")


def test_hypervolume_is_of_what_keeps_the_constraints(priced: Multirun, root: Path) -> None:
    devices = ("partitioner.stages=1", "partitioner.devices.0=fast,clean")
    priced(*devices, "sweep.study_name=free")
    priced(*devices, "sweep.study_name=none", "+sweep.constraints.carbon_g_per_inf=0")
    free, none = sorted(runs(root)[0], key=lambda run: run.info.start_time)
    assert history(root, free, "hypervolume")[1] > 0
    assert history(root, none, "hypervolume") == {0: 0, 1: 0}
    assert history(root, none, "regret_to_exact") == {0: 1, 1: 1}


def test_what_breaks_a_constraint_is_not_on_the_front(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("scheduler.carbon_weight=0.1,0.5,0.9", "+sweep.constraints.latency_ms_p50=260")
    _, children = runs(root)
    on_front = [child for child in children if child.data.tags.get("pareto") == "true"]
    tagged = {child.data.metrics["latency_ms_p50"] for child in on_front}
    assert len(tagged) == 2
    assert max(tagged) <= 260
    assert "2 of 3 trials keep the constraints" in capsys.readouterr().out


def test_a_grid_has_regret_too(priced: Multirun, root: Path) -> None:
    priced("partitioner.stages=1", "partitioner.devices.0=fast,clean")
    [parent], _ = runs(root)
    unsplit = [Plan((0, 6), (device,)) for device in ("fast", "clean")]
    expected = ExactReference.of(
        PricedTrial.known, {"carbon_g_per_inf": "minimize", "latency_ms_p50": "minimize"}
    )
    assert history(root, parent, "regret_to_exact")[1] == pytest.approx(expected.regret(unsplit))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("fleet=two,two", "the trials have no one front, as fleet varies"),
        ("++sweep.objectives.throughput_rps=maximize", "the cost model cannot maximize throughput_rps"),
        ("+action=profile", "action=profile runs no plan"),
        ("partitioner.cuts.0=7", "partitioner.cuts.0: a cut is a fraction"),
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
    ("override", "reason"),
    [
        ("partitioner=other", "only partitioner=explicit can say the exact front's plans (it is other)"),
        ("partitioner=explicit", "the sweep's space holds none of the"),
        ("fleet=two,two", "the trials have no one front, as fleet varies"),
    ],
)
def test_a_warm_start_that_the_space_cannot_say_is_refused_in_one_line(
    priced: Multirun, root: Path, override: str, reason: str
) -> None:
    study = ("sweep.sampler=tpe", "sweep.warm_start=exact", "scheduler.carbon_weight=interval(0,1)")
    with pytest.raises(ConfigError, match=re.escape(f"sweep.warm_start: {reason}")) as caught:
        priced(*study, override)
    assert "\n" not in str(caught.value)
    assert runs(root) == ([], [])


def test_variants_are_a_parent_run_each_and_one_table(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = "{cold: {sampler: random}, warm: {sampler: qmc, warm_start: exact, n_trials: 11}}"
    trials = priced("sweep=pareto", "sweep.n_trials=5", f"+sweep.variants={variants}")
    assert len(trials) == 16
    parents, children = runs(root)
    assert [parent.info.run_name.partition(":")[0] for parent in parents] == ["cold", "warm"]
    assert [parent.data.params["sampler"] for parent in parents] == ["random", "qmc"]
    assert len(children) == 16
    table = capsys.readouterr().out.partition("Variants")[2]
    for parent, name, count in zip(parents, ("cold", "warm"), (5, 11), strict=True):
        regret = parent.data.metrics["regret_to_exact"]
        size = parent.data.metrics["front_size"]
        assert re.search(rf"{name} +│ +{count} │ +{regret:.2%} │ +{size:.0f} ", table)


def test_variants_need_runs_of_their_own(multirun: Multirun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with pytest.raises(ConfigError, match=r"sweep\.variants: several sweeps need several runs"):
        multirun("+sweep.variants.a.seed=1")


def test_a_batch_goes_to_the_launcher_in_one_call(
    multirun: Multirun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    calls: list[tuple[int, int]] = []
    launch = BasicLauncher.launch

    def spy(self: BasicLauncher, job_overrides: Any, initial_job_idx: int) -> Sequence[JobReturn]:
        calls.append((len(job_overrides), initial_job_idx))
        return launch(self, job_overrides, initial_job_idx)

    monkeypatch.setattr(BasicLauncher, "launch", spy)
    multirun("sweep=pareto", "sweep.n_trials=7", "sweep.batch_size=3")
    assert calls == [(3, 0), (3, 3), (1, 6)]


def test_a_real_app_from_another_directory_sweeps_without_a_flag(root: Path) -> None:
    app = root / "app.py"
    app.write_text(
        "import hydra\n"
        "from pipeline.search import hydra_plugin\n"
        "from tests.search.test_sweeper import task\n"
        "hydra_plugin.register()\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(cfg): return task(cfg)\n"
        "main()\n"
    )
    (root / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, str(app), f"root={root}", "sweep=pareto", "sweep.n_trials=4"],
        cwd=root / "elsewhere",
        env={"PYTHONPATH": f"{CONF.parent}", "PATH": "/usr/bin:/bin", "HOME": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line[:11] for line in done.stdout.splitlines() if " trials  " in line] == [
        f"{n}/4 trials " for n in range(1, 5)
    ]
    assert "Launching" not in done.stdout
    assert len(runs(root)[1]) == 4
