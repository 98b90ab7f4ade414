"""How an error is printed: one line and exit code 2 for bad input, a traceback for a bug. Shell."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.domain.checks import ConfigError, one_line
from pipeline.domain.credentials import masked
from pipeline.domain.printable import printable
from pipeline.execution.devices.device_error import DeviceError
from pipeline.search.hydra_plugin import CONF
from pipeline.search.override_text import unreadable

BAD_INPUT = 2
"""Exit code."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG)


def fail(error: Exception) -> NoReturn:
    """End the program: one line and exit code 2 for bad input, 1 for a dead device; a traceback for a bug."""
    line = complaint(error)
    dead = [cause for cause in _causes(error) if isinstance(cause, DeviceError)]
    if line is None and dead:
        print(masked(f"error: {one_line(dead[0])}; run again"), file=sys.stderr)
        sys.exit(1)
    if line is None:
        print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        sys.exit(1)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def complaint(error: BaseException) -> str | None:
    """The error in one line, without passwords, if it is due to bad input; None if not."""
    line = _complaint(error)
    return None if line is None else masked(line)


def _complaint(error: BaseException) -> str | None:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return one_line(str(cause))
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            where = f"{cause.filename}: " if cause.filename else ""
            return f"{where}{cause.strerror}; free some space, or run where this directory is writable"
    for cause in causes:
        if isinstance(cause, OverrideParseException):
            return printable(unreadable(cause.override, cause))
    for cause in causes:
        if isinstance(cause, YAMLError):
            return one_line(f"not valid YAML: {cause}")
    for cause in causes:
        if isinstance(cause, InstantiationException) and "Error locating target" in str(cause):
            return one_line(_unknown_target(cause))
    for cause in causes:
        if isinstance(cause, TypeError) and "argument" in str(cause) and "__init__" in str(cause):
            return one_line(_wrong_argument(cause, str(error)))
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in causes):
        return one_line(re.split("Config search path|full_key:", str(error))[0])
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown_target(error: InstantiationException) -> str:
    """Which `_target_` cannot be imported, why, and the one of that name in this version."""
    [target] = re.findall(r"Error locating target '([^']*)'", str(error))[:1]
    located = error.__cause__ or error
    reason = located.__cause__ or located
    subject = f"{_full_key(str(error))}: _target_ {target}"
    missing = reason.name if isinstance(reason, ModuleNotFoundError) else None
    if not isinstance(reason, AttributeError) and not (missing and f"{target}.".startswith(f"{missing}.")):
        return f"{subject} cannot be imported: {reason}"
    package, _, rest = target.partition(".")
    name = re.sub(r"^([a-z_0-9]+\.)*", "", rest)  # without the modules: `Fleet.of`
    texts = (path.read_text() for path in CONF.rglob("*.yaml"))
    known = {each for text in texts for each in re.findall(r"_target_: *(\S+)", text)}
    same = [
        each
        for each in known
        if each.startswith(f"{package}.") and each.endswith(f".{name}") and each != target
    ]
    if len(same) == 1:
        return f"{subject} is unknown, perhaps from another version; here it is {same[0]}"
    return f"{subject} is unknown, perhaps from another version ({reason})"


def _wrong_argument(error: TypeError, message: str) -> str:
    """`workload: unknown key 'colour'` from Hydra's message about a failed constructor call."""
    unknown = re.search(r"unexpected keyword argument ('\w+')", str(error))
    if unknown:
        return f"{_full_key(message)}: unknown key {unknown.group(1)}"
    return f"{_full_key(message)}: {str(error).partition(' ')[2]}"


def _full_key(message: str) -> str:
    """The config key that Hydra's message names."""
    found = re.search(r"full_key: (\S+)", message)
    return found.group(1) if found else "config"
