"""The frame of a command: its help, its arguments, the config from its overrides. Shell."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pipeline.commands.terminal.error_message import fail
from pipeline.domain.checks import ConfigError, require
from pipeline.search import hydra_plugin

if TYPE_CHECKING:
    from pipeline.tracking.tracking import Tracking


@dataclass(frozen=True)
class Help:
    """The text that `carbonedge COMMAND --help` prints."""

    usage: str
    """One line, such as `carbonedge compare A B [KEY=VALUE ...]`."""
    about: str
    example: str

    def __str__(self) -> str:
        return f"usage: {self.usage}\n\n{self.about}\n\nExample:\n  {self.example}"


def asks_for_help() -> bool:
    """Whether this process's arguments contain `--help` or `-h`."""
    return not {"--help", "-h"}.isdisjoint(sys.argv[1:])


def run(command: Callable[[Sequence[str], Sequence[str]], None], help_text: Help, num_names: int) -> None:
    """Run a command on the names and the overrides of `NAME ... [KEY=VALUE ...]`, or print its help.

    Raises SystemExit: code 2 and one line for bad input.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if asks_for_help():
        print(help_text)
        return
    try:
        arguments = spread_overrides(sys.argv[1:])
        overrides = [argument for argument in arguments if re.match(r"[+~]*[A-Za-z_][\w.@/-]*=", argument)]
        names = [argument for argument in arguments if argument not in overrides]
        require(len(names) == num_names, f"usage: {help_text.usage}")
        command(names, overrides)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        fail(error)


GIVEN = "given:"
"""Begin of a parameter of an MLproject entry point."""
VALUED = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
)
"""Hydra's flags that are followed by a value."""


def spread_overrides(arguments: Sequence[str]) -> list[str]:
    """Arguments as an MLproject entry point passes them, as overrides.

    `overrides=A=1 B=2` becomes A=1 and B=2, `given:A=1` A=1, and `given:A=` nothing: that parameter was not
    given. A mapping is added where the config has no such keys, as `sweep.constraints={slo_miss_rate: .01}`
    needs: Hydra itself asks for a plus. Raises ConfigError for an unclosed quote, and for keys of
    `hydra.sweeper`, which has no settings.
    """
    spread = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith(GIVEN):
            spread += [argument.removeprefix(GIVEN)] if value else []
            continue
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
    return [f"++{each}" if re.match(r"[\w.@]+=\{", each) else each for each in spread]


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags first, each with its value: Hydra's parser takes them only there."""
    flags, overrides, before = list[str](), list[str](), ""
    for argument in arguments:
        is_value = before in VALUED and not argument.startswith("-")
        (flags if is_value or argument.startswith("-") else overrides).append(argument)
        before = argument
    return flags + overrides


def tracking(overrides: Sequence[str]) -> Tracking:
    """The `tracking` of the config with these overrides. Raises as `config` does."""
    from hydra.utils import instantiate

    made: Tracking = instantiate(config(overrides).tracking)
    return made


def config(overrides: Sequence[str]) -> DictConfig:
    """The config of conf/config.yaml with these overrides, without Hydra's own part.

    Raises ConfigError, HydraException or OmegaConfBaseException for an override that does not fit.
    """
    hydra_plugin.register()
    try:
        with initialize_config_dir(str(hydra_plugin.CONF), version_base="1.3"):
            return compose("config", overrides=list(overrides))
    except ValueError as error:  # from Hydra, for an invalid group name
        raise ConfigError(f"{' '.join(overrides)}: {error}") from error
