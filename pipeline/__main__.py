"""The command line, `python -m pipeline [OVERRIDE ...]`: one configuration is one MLflow run."""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from pipeline import report, sweeper
from pipeline.domain import ConfigError, TrialResult, require
from pipeline.trial import Provenance, Trial

BAD_INPUT = 2
CONF = str(Path(__file__).resolve().parents[1] / "conf")


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
            report.print_result(console, result)
            console.print(trial.tracking.ui_command())
        return result
    except Exception as error:
        if settings.mode is RunMode.MULTIRUN:
            raise  # the sweeper counts a failed trial and goes on
        fail(error)


def fail(error: Exception) -> NoReturn:
    """End the program: one line and exit code 2 for bad input, a traceback and 1 for a fault of ours."""
    line = complaint(error)
    if line is None:
        traceback.print_exception(error)
        sys.exit(1)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(BAD_INPUT)


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


def complaint(error: BaseException) -> str | None:
    """One line for the person who gave bad input; None where the fault is not theirs."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return _one_line(str(cause))
    for cause in causes:
        if isinstance(cause, TypeError) and "argument" in str(cause) and "__init__" in str(cause):
            return _one_line(_wrong_argument(cause, str(error)))
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in causes):
        return _one_line(re.split("Config search path|full_key:", str(error))[0])
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _wrong_argument(error: TypeError, message: str) -> str:
    """`workload: unknown key 'colour'` from Hydra's account of a failed constructor call."""
    full_key = re.search(r"full_key: (\S+)", message)
    owner = full_key.group(1) if full_key else "config"
    unknown = re.search(r"unexpected keyword argument ('\w+')", str(error))
    if unknown:
        return f"{owner}: unknown key {unknown.group(1)}"
    return f"{owner}: {str(error).partition(' ')[2]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
