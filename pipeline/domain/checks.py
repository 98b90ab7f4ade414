"""ConfigError for bad input, and the checks that raise it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.domain.printable import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class ConfigError(ValueError):
    """Bad input, in one line: the key or device, the value, and what was expected. Exit code 2."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


LARGEST = {
    "_g_per_kwh": 2000.0,
    "_bytes_per_s": 1e15,
    "_per_byte": 1.0,
    "_bytes": 1e15,
    "_years": 1e3,
    "_kg": 1e7,
    "_w": 1e6,
    "_j": 1e18,
    "_g": 1e18,
    "_s": 1e9,
}
"""The largest value of a quantity that can be meant, by the unit in which its name ends; others: 1e9."""


YEARS = (1900, 2200)
"""The years of a run's start: 31 years (LARGEST) before and after them, pandas still counts nanoseconds."""
ROUNDING = 1e-6
"""Relative difference of two sums of the same figures in another order."""


def is_finite_number(value: Any) -> bool:
    """Whether the value is a number, no bool, that a float can hold: not NaN, infinity or a whole 10**400."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def require_number(
    owner: str, name: str, value: Any, *, least: float, above: bool = False, most: float | None = None
) -> None:
    """Raise ConfigError unless the value is a finite number >= `least` (with `above`: > `least`).

    Beyond `most` it cannot be meant; None: the unit's own largest value (LARGEST).
    """
    if most is None:
        most = next((end for unit, end in LARGEST.items() if name.endswith(unit)), 1e9)
    relation = ">" if above else ">="
    enough = is_finite_number(value) and (value > least if above else value >= least)
    require(enough, f"{owner}: {name} must be a number {relation} {least:g} ({name}: {value!r:.60})")
    require(value <= most, f"{owner}: {name} must be at most {most:g} ({name}: {value!r})")


def require_whole(owner: str, name: str, value: Any, *, least: int = 0, most: int | None = None) -> None:
    """Raise ConfigError unless the value is a whole number >= `least` and, if it is given, <= `most`."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    ends = f">= {least}" if most is None else f"from {least} to {most}"
    require(
        good and (most is None or value <= most),
        f"{owner}.{name}: must be a whole number {ends} (it is {value!r})",
    )


def require_seed(owner: str, value: Any, name: str = "seed") -> None:
    """Raise ConfigError unless the value is a seed that every random generator takes: 0 to 2**63 - 1."""
    require_whole(owner, name, value, most=2**63 - 1)


def require_mapping(key: str, value: Any, of: str) -> None:
    """Raise ConfigError unless the value is a mapping by text; of: what it maps, such as `zones to hours`."""
    require(isinstance(value, Mapping), f"{key}: must map {of} (it is {value!r})")
    for name in value:
        quoted = "must be text, in quotes where YAML reads it as something else"
        require(isinstance(name, str), f"{key}: the key {name!r} {quoted}")


def require_list(key: str, value: Any, of: str) -> None:
    """Raise ConfigError unless the value is a list; of: what it holds, such as `names`."""
    good = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    require(good, f"{key}: must be a list of {of} (it is {value!r})")


def require_pair(key: str, ends: Any) -> None:
    """Raise ConfigError unless `ends` is a list of two, [low, high]."""
    require(isinstance(ends, list | tuple) and len(ends) == 2, f"{key}: must be [low, high] (it is {ends!r})")


def utc(key: str, text: Any) -> datetime:
    """An ISO time such as 2021-06-01T00:00, in UTC if it has no offset.

    Raises ConfigError naming the key; also for years in which no run is, beyond which other libraries fail.
    """
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: must be a time as in 2021-06-01T00:00, or null ({text!r})") from error
    first, last = YEARS
    require(first <= at.year <= last, f"{key}: must be in the years {first} to {last} ({text!r})")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def one_line(text: object) -> str:
    """A text, or an error's message, with its line breaks and indents replaced by single spaces."""
    return printable(" ".join(str(text).split()))


MOST_LISTED = 5
"""Names in a line before it says how many more there are."""


def listed(names: Sequence[str]) -> str:
    """Names as text: `a, b, c`; of many, the first and how many more: `a, b, c, d, e and 195 more`."""
    shown, more = ", ".join(names[:MOST_LISTED]), len(names) - MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def size_text(num_bytes: float) -> str:
    """Bytes as text: `12.3 MB`, or kB below 0.1 MB."""
    return f"{num_bytes / 1e6:.1f} MB" if abs(num_bytes) >= 1e5 else f"{num_bytes / 1e3:.3g} kB"


_Named = TypeVar("_Named", bound="DataclassInstance")


def named(cls: type[_Named], key: str, name: str, values: Mapping[str, Any]) -> _Named:
    """Build `cls` from the mapping under a name in a config.

    Raises ConfigError naming the key that is unknown, missing or bad.
    """
    require(isinstance(values, Mapping), f"{key}.{name}: must be a mapping (it is {values!r})")
    known = {f.name for f in fields(cls) if f.name != "name"}
    for unknown in set(values) - known:
        raise ConfigError(f"{key}.{name}: unknown key {unknown!r} (known: {', '.join(sorted(known))})")
    try:
        return cls(**{"name": name}, **values)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise ConfigError(f"{key}.{name}: missing {missing}") from error
