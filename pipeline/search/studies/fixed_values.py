"""The values that all trials of a study share, compared with those of the present sweep. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.domain.checks import require

MOST_DIFFERENCES = 3
"""Most differences that a message lists."""
ABSENT = "not set"


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The full key and the value of each leaf below a key of the config; empty collections are leaves."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield key, value
    for name, below in items:
        yield from leaves(below, f"{key}.{name}" if key else str(name))


def require_same_held(name: str, stored: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise ConfigError where a stored study's trials cannot be compared with those of the present sweep.

    stored, now: the values that the trials of each share, by config key.
    """
    differing = [key for key in dict.fromkeys([*now, *stored]) if stored.get(key) != now.get(key)]
    texts = {key: f"{key} was {stored.get(key, ABSENT)} and is {now.get(key, ABSENT)}" for key in differing}
    for key in differing:
        require(
            not _has_moved(key, stored, now),
            f"sweep.study_name: another version of CarbonEdge made the study {name!r} ({texts[key]}), and "
            "this one cannot resume it; choose another sweep.study_name, or set sweep.resume=false",
        )
    listed, more = "; ".join([*texts.values()][:MOST_DIFFERENCES]), len(texts) - MOST_DIFFERENCES
    require(
        not texts,
        f"sweep.study_name: the study {name!r} is another: {listed}"
        f"{f'; and {more} more' if more > 0 else ''}; choose another name",
    )


def _has_moved(key: str, stored: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether a `_target_` names the same class (or its method) in another module."""
    if key.rpartition(".")[2] != "_target_" or key not in stored or key not in now:
        return False
    before, after = (re.sub(r"^[a-z0-9_.]+\.(?=[A-Z])", "", held[key]) for held in (stored, now))
    return before == after
