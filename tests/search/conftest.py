"""The sweeper in a small real Hydra app: conf/sweep, journal, SQLite are real; only the task is analytic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.domain.trial_result import TrialResult
from pipeline.planning.cost import predict
from pipeline.planning.problem import Partitioner, Problem
from pipeline.search import hydra_plugin
from pipeline.search.jobs import trial_config
from pipeline.search.studies.sweep_trial import SweepTrial
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
                   experiment: test, outbox: '${root}/outbox', parent_run_id: null, trial: null, varied: []}
        fail_below: -1
    """,
    "fleet/pair.yaml": "{devices: {big: {}, little: {}}, monolithic: big}",
    "fleet/two.yaml": "{devices: {fast: {}, clean: {}}, monolithic: fast}",
    "partitioner/monolithic.yaml": "{_target_: partitioners.monolithic.Monolithic, device: null}",
    "partitioner/explicit.yaml": """
        {_target_: partitioners.explicit.Explicit, stages: 2, cuts: [0.33, 0.67], devices: [auto, auto, auto]}
    """,
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
    """At the config's root, in the place of pipeline.trial.Trial; its metrics are the cost model's."""

    known: ClassVar[Problem]

    def __init__(self, **config: Any) -> None:
        self.partitioner: Partitioner = config["partitioner"]

    def problem(self) -> Problem:
        return self.known

    def plan(self) -> Plan:
        plan = self.partitioner.partition(self.known)
        return replace(plan, devices=tuple("clean" if d == "auto" else d for d in plan.devices))


def task(cfg: DictConfig) -> TrialResult:
    if "_target_" in cfg:
        plan = instantiate(trial_config(cfg)).plan()
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


@pytest.fixture
def priced(multirun: Multirun, make_problem: MakeProblem, two_devices: Fleet) -> Multirun:
    """The app with a trial at its root that the cost model prices, on a fleet of two devices."""
    PricedTrial.known = make_problem(two_devices)
    return lambda *overrides: multirun(f"+_target_={__name__}.PricedTrial", "fleet=two", *overrides)


def runs(root: Path) -> tuple[list[Run], list[Run]]:
    """Parents and children in the store, oldest first."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def history(root: Path, run: Run, key: str) -> dict[int, float]:
    points = MlflowClient(f"sqlite:///{root}/mlflow.db").get_metric_history(run.info.run_id, key)
    return {point.step: point.value for point in points}
