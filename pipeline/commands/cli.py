"""What the command lines share: where the config is, what a person wrote, how bad input ends. Shell."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.domain.checks import ConfigError, require
from pipeline.search import sweeper

BAD_INPUT = 2
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG)
CONF = str(Path(__file__).resolve().parents[2] / "conf")


@dataclass(frozen=True)
class Help:
    """What `--help` says of a command."""

    usage: str
    """Such as `carbonedge compare A B [KEY=VALUE ...]`."""
    about: str
    example: str

    def __str__(self) -> str:
        return f"usage: {self.usage}\n\n{self.about}\n\nExample:\n  {self.example}"


def run(command: Callable[[Sequence[str], Sequence[str]], None], told: Help, num_names: int) -> None:
    """Run a command on the names and the overrides of `NAME ... [KEY=VALUE ...]`, or print its help.

    Raises SystemExit: code 2 and one line for bad input.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if {"--help", "-h"} & {*sys.argv[1:]}:
        print(told)
        return
    try:
        arguments = spread_overrides(sys.argv[1:])
    except ConfigError as error:
        fail(error)
    overrides = [argument for argument in arguments if re.match(r"[+~]*[A-Za-z_][\w.@/-]*=", argument)]
    names = [argument for argument in arguments if argument not in overrides]
    try:
        require(len(names) == num_names, f"usage: {told.usage}")
        command(names, overrides)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
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


def config(overrides: Sequence[str]) -> DictConfig:
    """The config as these overrides make it."""
    sweeper.register()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("config", overrides=list(overrides))
    except ValueError as error:  # Hydra's for a group that is no name
        raise ConfigError(f"{' '.join(overrides)}: {error}") from error


def fail(error: Exception) -> NoReturn:
    """End the program: one line and exit code 2 for bad input, a traceback and 1 for a fault of ours."""
    line = complaint(error)
    if line is None:
        traceback.print_exception(error)
        sys.exit(1)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def complaint(error: BaseException) -> str | None:
    """One line for the person who gave bad input; None where the fault is not theirs."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return _one_line(str(cause))
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            where = f"{cause.filename}: " if cause.filename else ""
            return f"{where}{cause.strerror}; make room, or work where this may write"
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
