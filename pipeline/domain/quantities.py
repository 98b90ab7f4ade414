"""Sizes, rates, times and powers as people write them: `8 GB`, `100 Mbit/s`, `5 ms`; pint reads them. Pure.

A text may be anybody's, and pint evaluates expressions: `9**9**9 s` never ends. So a pattern splits the text,
the number is read here, and pint (https://pint.readthedocs.io, UnitRegistry) is asked only which unit a word
of letters names, and what that is worth. It counts in fractions: `0.06 kWh/GB` is to the last digit what one
computes by hand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipeline.domain.checks import ConfigError


@dataclass(frozen=True)
class _Kind:
    """What a key holds: its unit, and how a person might write a value of it."""

    unit: str
    example: str


_KINDS = {
    "_g_per_kwh": _Kind("g/kWh", "450 g/kWh"),
    "_kwh_per_gb": _Kind("kWh/GB", "0.06 kWh/GB"),
    "_j_per_byte": _Kind("J/byte", "0.06 kWh/GB"),
    "_bytes_per_s": _Kind("byte/s", "100 Mbit/s"),
    "_bytes": _Kind("byte", "8 GB"),
    "_years": _Kind("year", "3 years"),
    "_kg": _Kind("kg", "20 kg"),
    "_w": _Kind("W", "350 mW"),
    "_s": _Kind("s", "5 ms"),
}
"""By the unit in which a key's name ends. The first that fits counts: a rate ends in `_s` too."""
_SCALED = ("bit", "byte", "second", "watt", "watt_hour", "joule", "gram")
_WHOLE = ("minute", "hour", "day", "week", "month", "year", "metric_ton")
"""Units of pint that a figure may be written in, with and without a prefix such as kilo. Pint has a thousand
others, and reads them from few letters: `Mb` are megabarn, `dBm` is no multiple of W, a `ton` has 907 kg."""
_NUMBER = r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?"
_TEXT = re.compile(rf"({_NUMBER}) {{0,3}}([A-Za-zµμ]{{1,20}}(?:/[A-Za-zµμ]{{1,20}})?)")
"""A decimal number of at most 40 digits and an exponent of two, then a unit with at most one `/`."""
_RATE = re.compile(r"([kMGT]i?)?(b|B)(?:ps|/s)")
"""The rates that pint lacks or reads otherwise: `bps` is a baud, `Bps` unknown, the b of `Mb/s` a barn."""


def plain(key: str, value: Any) -> Any:
    """A text such as `8 GB` as a number in the unit in which the key's name ends; other values as they are.

    Raises ConfigError for a text that is not a number and a unit of that kind, naming the key.
    """
    kind = next((kind for ending, kind in _KINDS.items() if key.endswith(ending)), None)
    if kind is None or not isinstance(value, str):
        return value
    match = _TEXT.fullmatch(value)
    worth = None if match is None else _worth(match[2])
    own = _worth(kind.unit)
    assert own is not None
    if match is None or worth is None or worth[1] != own[1]:
        raise ConfigError(
            f"{key}: must be a number in {kind.unit} or a text such as {kind.example!r} (it is {value!r:.60})"
        )
    return float(Fraction(match[1]) * worth[0] / own[0])


def plain_values(owner: str, values: Any, known: Collection[str]) -> Any:
    """A mapping of a config with numbers where people wrote texts, as `plain`, in its `ranges` too.

    Its other keys than the known ones, and what is no mapping, stay as they are for others to refuse.
    """
    if not isinstance(values, Mapping):
        return values
    numbers = {k: plain(f"{owner}.{k}", v) if k in known else v for k, v in values.items()}
    if isinstance(ranges := values.get("ranges"), Mapping):
        numbers["ranges"] = {
            k: [plain(f"{owner}.ranges.{k}", end) for end in ends] if isinstance(ends, list | tuple) else ends
            for k, ends in ranges.items()
        }
    return numbers


@functools.cache
def _registry() -> Any:
    """Pint's units, read when a text is first met: they take half a second."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


@functools.lru_cache
def _worth(unit: str) -> tuple[Fraction, Any] | None:
    """How many of pint's root units a unit is, and which these are; None: no unit of a fleet's figures.

    Root units tell kinds apart, as dimensions do not: pint's bit has none, so that Hz would be a rate.
    """
    rate = _RATE.fullmatch(unit)
    if rate is not None:
        unit = f"{rate[1] or ''}{'bit' if rate[2] == 'b' else 'B'}/s"
    names = [_name(part) for part in unit.split("/")]
    if None in names:
        return None
    registry = _registry()
    over, *under = [registry.UnitsContainer({name: 1}) for name in names]
    for each in under:
        over = over / each
    factor, roots = registry.get_root_units(over)
    return Fraction(factor), roots


def _name(part: str) -> str | None:
    """The name that pint has for a unit without `/`; None where it is none of ours, or could be several."""
    registry = _registry()
    names = [
        prefix + unit
        for prefix, unit, _ in registry.parse_unit_name(part)
        if unit in _SCALED or (unit in _WHOLE and prefix == "")
    ]
    if len(names) != 1:
        return None
    factor, roots = registry.get_root_units(registry.UnitsContainer({names[0]: 1}))
    # Nobody means a thousandth of a bit: `mbit` and `mB` are slips for Mbit and MB.
    return None if roots == registry.Unit("bit") and factor < 1 else names[0]
