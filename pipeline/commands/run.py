"""One configuration, or a sweep: `python -m pipeline [OVERRIDE ...]`. Shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipeline.commands.cli import CONF, fail, spread_overrides
from pipeline.domain.trial_result import TrialResult
from pipeline.results.tables.run_table import print_result
from pipeline.search import sweeper
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.trial.perform import perform
from pipeline.trial.provenance import Provenance
from pipeline.trial.trial import Trial


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def run(config: DictConfig) -> TrialResult:
    """Build the trial that the config describes, and run it."""
    settings = HydraConfig.get()
    try:
        config = sweeper.trial_config(config)
        trial: Trial = instantiate(config)
        result = perform(
            trial,
            Provenance(
                choices=settings.runtime.choices,
                config_yaml=OmegaConf.to_yaml(config),
                overrides=list(settings.overrides.task),
            ),
        )
        if settings.mode is not RunMode.MULTIRUN:
            console = Console(highlight=False, soft_wrap=True)
            print_result(console, result)
            console.print(trial.tracking.farewell())
        return result
    except Exception as error:
        if settings.mode is RunMode.MULTIRUN:
            raise  # the sweeper counts a failed trial and goes on
        fail(error)


def multirun(overrides: Sequence[str]) -> Sequence[SweepTrial]:
    """Run a sweep in this process, as `python -m pipeline -m` does; all its trials, earlier ones too."""
    sweeper.register()
    version.setbase("1.3")
    app = Hydra.create_main_hydra2("pipeline", create_config_search_path(CONF))
    try:
        trials: Sequence[SweepTrial] = app.multirun(
            "config", run.__wrapped__, list(overrides), with_log_configuration=False
        )
        return trials
    finally:
        GlobalHydra.instance().clear()


def main() -> None:
    """Run the app; bad input ends with one line on standard error and exit code 2."""
    # Hydra would print its own account of an error and exit with 1; this hands the exception to us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra's parser takes the flag only before the overrides.
    multirun = ("-m", "--multirun")
    sweeper.register()
    try:
        arguments = spread_overrides(sys.argv[1:])
        sys.argv[1:] = sorted(arguments, key=lambda argument: argument not in multirun)
        run()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        fail(error)
