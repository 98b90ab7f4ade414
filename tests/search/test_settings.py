"""The settings of every sweep in conf are valid, on every fleet and in every experiment."""

from __future__ import annotations

import logging
import math

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import configure_log
from hydra.types import RunMode
from omegaconf import OmegaConf

from pipeline.search import hydra_plugin
from pipeline.search.search_space import SearchSpace
from pipeline.search.settings import Constraint, Settings
from tests.conftest import CONF, choices


@pytest.mark.parametrize("fleet", choices("fleet"))
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


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_an_experiment_composes_and_its_sweeps_are_valid(experiment: str) -> None:
    hydra_plugin.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"experiment={experiment}", "sweep.n_trials=7"], return_hydra_config=True)
    assert config.hydra.mode is RunMode.MULTIRUN
    each = Settings.of(OmegaConf.to_container(config.sweep, resolve=True)).each()
    assert {one.n_trials for one in each.values()} == {7}
    assert len({(one.sampler, one.warm_start) for one in each.values()}) == len(each)


@pytest.mark.parametrize("bound", ["<= 5", ">= 5"])
def test_a_trial_whose_metric_is_unknown_is_infinitely_far_beyond_the_bound(bound: str) -> None:
    limit = Constraint.of("latency_ms_p95", bound)
    assert limit.beyond({"latency_ms_p95": math.nan}) == limit.beyond({}) == math.inf
    assert limit.beyond({"latency_ms_p95": 5.0}) == 0


def test_a_sweep_says_that_it_measures_a_profile_before_its_first_trial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It takes minutes; Hydra's own lines stay hidden."""
    hydra_plugin.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["sweep=pareto"], return_hydra_config=True)
    configure_log(config.hydra.hydra_logging)
    logging.getLogger("hydra.core.utils").info("Launching 1 jobs locally")
    logging.getLogger("pipeline.execution.devices.profiler").info("measuring the profile of x (once)")
    assert capsys.readouterr().out.splitlines()[0].endswith("] measuring the profile of x (once)")
