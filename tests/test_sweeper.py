"""The sweeper in a small real Hydra app: conf/sweep, journal, SQLite are real; only the task is analytic."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf

from pipeline import sweeper
from pipeline.domain import ConfigError, TrialResult
from pipeline.search_space import SearchSpace
from pipeline.study import SweepTrial
from pipeline.tracking import Tracking

CONF = Path(__file__).parents[1] / "conf"
APP = {
    "config.yaml": """
        defaults: [_self_, fleet: pair, partitioner: explicit, scheduler: green, sweep: none,
                   override hydra/sweeper: carbonedge]
        hydra: {sweep: {dir: '${root}/sweep'}, hydra_logging: {root: {level: WARNING}}}
        root: ???
        tracking: {_target_: pipeline.tracking.Tracking, uri: 'sqlite:///${root}/mlflow.db',
                   experiment: test, parent_run_id: null}
        fail_below: -1
    """,
    "fleet/pair.yaml": "{devices: {big: {}, little: {}}, monolithic: big}",
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
    return {"carbon_g_per_inf": 1.5 - weight + waste, "latency_ms_p50": 200 + 100 * weight + waste}


def task(cfg: DictConfig) -> TrialResult:
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
def multirun(root: Path) -> Multirun:
    """`app -m overrides`, in this process."""
    version.setbase("1.3")
    sweeper.register()

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
    rows = {t.result.run_id: tuple(t.result.metrics.values()) for t in trials if t.result}
    return {
        run_id
        for run_id, (x, y) in rows.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in rows.values())
    }


# --- grids ----------------------------------------------------------------------------------------


def test_a_grid_runs_the_product_under_one_parent(multirun: Multirun, root: Path) -> None:
    trials = multirun("scheduler=performance,green", "partitioner.cuts.0=0.1,0.5", "partitioner.stages=1")
    assert [trial.point for trial in trials] == [
        {"scheduler": scheduler, "partitioner.cuts.0": cut}
        for scheduler in ("performance", "green")
        for cut in (0.1, 0.5)
    ]
    assert trials[3].result is not None
    assert trials[3].result.metrics == pytest.approx({"carbon_g_per_inf": 1.1, "latency_ms_p50": 250.1})
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
        ("hydra.sweeper.sampler=anneal", r"hydra\.sweeper\.sampler: unknown 'anneal'"),
        ("hydra.sweeper.batch_size=0", r"hydra\.sweeper\.batch_size must be >= 1"),
        ("hydra.sweeper.objectives.latency_ms_p50=min", "minimize or maximize"),
        ("hydra.sweeper.sampler=tpe", r"hydra\.sweeper\.params: a study needs something to vary"),
        ("+hydra.sweeper.objectives.joy=maximize", r"hydra\.sweeper\.objectives: .*joy"),
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
    trials = multirun("sweep=pareto", "hydra.sweeper.n_trials=12")

    assert [t.point["partitioner.devices.0"] for t in trials[:3]] == ["big", "little", "auto"]
    assert [t.point["partitioner.stages"] for t in trials[:3]] == [1, 1, 1]
    assert trials[2].point["scheduler.carbon_weight"] == 0.5
    for trial in trials:
        assert trial.point["partitioner.stages"] in (1, 2, 3)
        assert 0.05 <= float(trial.point["partitioner.cuts.1"]) <= 0.95
        assert trial.point["partitioner.devices.2"] in ("auto", "big", "little")

    [parent], children = runs(root)
    assert parent.data.metrics["trials_complete"] == len(children) == len(trials) == 12
    assert (root / "sweep" / "study.journal").exists()
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
    points = np.array([list(t.result.metrics.values()) for t in trials if t.result])
    right, floor = points.max(axis=0) * 1.1
    area = 0.0
    for x, y in sorted(points.tolist(), reverse=True):
        lowest = points[points[:, 0] <= x][:, 1].min()
        area += (right - x) * (floor - min(y, lowest))
        right = x
    return area


@pytest.mark.parametrize("fleet", sorted(path.stem for path in (CONF / "fleet").glob("*.yaml")))
def test_pareto_yaml_enqueues_every_device_of_any_fleet(fleet: str) -> None:
    sweeper.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["sweep=pareto", f"fleet={fleet}"], return_hydra_config=True)
    settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(settings, dict)
    space = SearchSpace.parse(settings["params"])
    *alone, green = [point for entry in settings["enqueue"] for point in space.points("enqueue", entry)]
    assert alone == [
        {"partitioner.stages": 1, "partitioner.devices.0": device} for device in config.fleet.devices
    ]
    assert green == settings["compare"]["green"]
    assert space.points("compare", settings["compare"]["monolithic"])[0] in alone


def test_the_space_follows_fixed_and_narrowed_overrides(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "sweep=pareto",
        "hydra.sweeper.n_trials=4",
        "partitioner.stages=2",
        "partitioner.cuts.0=interval(0.4,0.6)",
    )
    assert all("partitioner.stages" not in trial.point for trial in trials)
    assert all(0.4 <= float(trial.point["partitioner.cuts.0"]) <= 0.6 for trial in trials)
    assert {trial.point["partitioner.devices.0"] for trial in trials} <= {"auto", "big", "little"}


def test_a_seed_repeats_a_study_and_another_does_not(multirun: Multirun, root: Path) -> None:
    def points(seed: int, name: str) -> list[dict[str, Any]]:
        settings = [
            "hydra.sweeper.n_trials=5",
            f"hydra.sweeper.seed={seed}",
            f"hydra.sweeper.study_name={name}",
        ]
        return [trial.point for trial in multirun("sweep=pareto", *settings)]

    assert points(1, "a") == points(1, "b")
    assert points(1, "a")[:1] != points(2, "c")[:1]


def test_a_study_goes_on_to_the_points_of_an_undisturbed_one(multirun: Multirun, root: Path) -> None:
    options = ["sweep=pareto", "+hydra.sweeper.sampler_options.n_startup_trials=4"]
    undisturbed = multirun(*options, "hydra.sweeper.n_trials=10", "hydra.sweeper.study_name=whole")
    storage = f"hydra.sweeper.storage={root}/two.journal"
    multirun(*options, storage, "hydra.sweeper.n_trials=6")
    both = multirun(*options, storage, "hydra.sweeper.n_trials=10")
    assert [trial.point for trial in both] == [trial.point for trial in undisturbed]
    assert len({str(trial.point) for trial in both}) == 10
    parents, _ = runs(root)
    assert [parent.data.metrics["trials_complete"] for parent in parents] == [10, 6, 10]


def test_nan_and_errors_fail_their_trials_only(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "hydra.sweeper.sampler=random",
        "hydra.sweeper.n_trials=8",
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


def test_a_study_gives_up_after_max_failures(multirun: Multirun, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"all 5 trials failed; the first: partitioner\.cuts"):
        multirun("sweep=pareto", "fail_below=2")


def test_other_objectives_and_directions(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "hydra.sweeper.sampler=tpe",
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.objectives={carbon_g_per_inf:maximize,latency_ms_p50:null}",
        "scheduler.carbon_weight=interval(0,1)",
    )
    _, children = runs(root)
    tagged = {run.info.run_id for run in children if "pareto" in run.data.tags}
    best = max(
        trials, key=lambda trial: trial.result.metrics["carbon_g_per_inf"] if trial.result else -math.inf
    )
    assert best.result is not None
    assert tagged == {best.result.run_id}


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
    multirun("sweep=pareto", "hydra.sweeper.n_trials=7", "hydra.sweeper.batch_size=3")
    assert calls == [(3, 0), (3, 3), (1, 6)]


def test_a_real_app_from_another_directory_sweeps_without_a_flag(root: Path) -> None:
    app = root / "app.py"
    app.write_text(
        "import hydra\n"
        "from pipeline import sweeper\n"
        "from tests.test_sweeper import task\n"
        "sweeper.register()\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(cfg): return task(cfg)\n"
        "main()\n"
    )
    (root / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, str(app), f"root={root}", "sweep=pareto", "hydra.sweeper.n_trials=4"],
        cwd=root / "elsewhere",
        env={"PYTHONPATH": str(CONF.parent), "PATH": "/usr/bin:/bin", "HOME": str(root)},
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
