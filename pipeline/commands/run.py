"""One configuration: `carbonedge run [OVERRIDE ...]`, or `python -m pipeline [OVERRIDE ...]`. Shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipeline.commands.terminal import cli
from pipeline.commands.terminal.error_message import complaint, fail
from pipeline.commands.terminal.own_config import require_as_meant
from pipeline.domain.checks import ConfigError
from pipeline.domain.trial_result import TrialResult
from pipeline.host.interrupts import signals_interrupt
from pipeline.results.terminal import terminal
from pipeline.search import hydra_plugin

if TYPE_CHECKING:
    from pipeline.search.studies.sweep_trial import SweepTrial
    from pipeline.trial.trial import Trial

HELP = cli.Help(
    "carbonedge run [KEY=VALUE ...]",
    "Runs one configuration and logs it as one MLflow run; `python -m pipeline` is the same command.\n"
    "`python -m pipeline --help` lists every config group and setting, `--cfg job` prints those in force.",
    "carbonedge run partitioner=balanced scheduler=green workload.requests=20",
)


@hydra.main(version_base="1.3", config_path=str(hydra_plugin.CONF), config_name="config")
def run(config: DictConfig) -> TrialResult:
    """Build the trial that the config describes, and run it."""
    # Imported here because torch and MLflow take seconds, which help and a wrong key need not wait for.
    from pipeline.results.tables.run_table import print_result
    from pipeline.search.jobs import trial_config
    from pipeline.trial.perform import perform
    from pipeline.trial.provenance import Provenance

    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # with hydra.job.chdir=true too, paths start where the command was given
    try:
        config = trial_config(config)
        trial = _trial(config)
        provenance = Provenance(
            choices=settings.runtime.choices,
            config_yaml=OmegaConf.to_yaml(config),
            overrides=list(settings.overrides.task),
            swept=settings.mode is RunMode.MULTIRUN,
        )
        result = perform(trial, provenance)
        if settings.mode is not RunMode.MULTIRUN:
            console = terminal()
            print_result(console, result)
            console.print(trial.tracking.farewell())
        return result
    except Exception as error:
        if settings.mode is RunMode.MULTIRUN:
            raise  # the sweeper counts a failed trial and continues
        fail(error)


def _trial(config: DictConfig) -> Trial:
    """The trial that a config builds. Raises ConfigError with a line that names the key at fault."""
    try:
        trial: Trial = instantiate(config)
        return trial
    except HydraException as error:
        raise ConfigError(complaint(error)) from error


def multirun(overrides: Sequence[str]) -> Sequence[SweepTrial]:
    """Run a sweep in this process, as `carbonedge sweep` does; return all its trials, earlier ones too."""
    hydra_plugin.register()
    version.setbase("1.3")
    app = Hydra.create_main_hydra2("pipeline", create_config_search_path(str(hydra_plugin.CONF)))
    try:
        trials: Sequence[SweepTrial] = app.multirun("config", run.__wrapped__, list(overrides))
        return trials
    finally:
        GlobalHydra.instance().clear()


def run_app() -> None:
    """Run the Hydra app on the arguments of this process.

    Raises SystemExit: code 2 and one line on standard error for bad input.
    """
    # Hydra would print its own message and exit with 1; with this it raises the exception.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    hydra_plugin.register()
    try:
        sys.argv[1:] = cli.flags_first(cli.spread_overrides(sys.argv[1:]))
        require_as_meant(sys.argv[1:])
        with signals_interrupt():
            run()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        fail(error)


def main() -> None:
    """Run the command on the arguments of this process, or print its help."""
    if cli.asks_for_help():
        print(HELP)
    else:
        run_app()
