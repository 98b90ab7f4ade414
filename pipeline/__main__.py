"""The command line, `python -m pipeline [OVERRIDE ...]`: one configuration is one MLflow run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipeline import sweeper, tables
from pipeline.command import CONF, fail
from pipeline.domain import ConfigError, TrialResult, require
from pipeline.trial import Provenance, Trial


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def run(config: DictConfig) -> TrialResult:
    """Build the trial that the config describes, and run it."""
    settings = HydraConfig.get()
    try:
        config = sweeper.trial_config(config)
        trial: Trial = instantiate(config)
        result = trial.run(
            Provenance(
                choices=settings.runtime.choices,
                config_yaml=OmegaConf.to_yaml(config),
                overrides=list(settings.overrides.task),
            )
        )
        if settings.mode is not RunMode.MULTIRUN:
            console = Console(highlight=False, soft_wrap=True)
            tables.print_result(console, result)
            console.print(trial.tracking.farewell())
        return result
    except Exception as error:
        if settings.mode is RunMode.MULTIRUN:
            raise  # the sweeper counts a failed trial and goes on
        fail(error)


def spread_overrides(arguments: Sequence[str]) -> list[str]:
    """Arguments with `overrides=A=1 B=2`, as an MLproject entry point passes it, spread into A=1 and B=2.

    Raises ConfigError for a quote without its end, and for keys of `hydra.sweeper`, which has none.
    """
    spread = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        try:
            spread += shlex.split(value) if key == "overrides" else [argument]
        except ValueError as error:  # an unclosed quote
            raise ConfigError(f"{argument}: {error}") from error
    for argument in spread:
        key = argument.lstrip("+~").partition("=")[0]
        require(
            not key.startswith("hydra.sweeper."),
            f"{key}: use {key.removeprefix('hydra.').replace('sweeper', 'sweep', 1)}",
        )
    return spread


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


if __name__ == "__main__":
    main()
