"""Find the column of a meter's file that tells several meters apart, as `plug` or `entity_id`. Pure."""

from __future__ import annotations

import re

import pandas as pd

_MEASURED = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)? ?[A-Za-z%°µ]{0,4}")
"""A number, or one with its unit: `230.1 V`."""
_ID_WORD = re.compile(
    "id|no|nr|num|number|index|plug|socket|outlet|device|sensor|meter|entity|channel|ch|phase|port|host|node|"
    "address|serial"
)
"""Words of which the name of a column of ids consists, whose values may be numbers: `plug`, `sensor_no`."""


def series_column(others: pd.DataFrame) -> tuple[str, list[str]] | None:
    """The first column whose values alternate, and these; None: all rows seem to be of one meter.

    others: rows in order of time, without the columns of times and powers. Only texts and ids count, not what
    was measured; a value alternates if it is back after another one. Where a text changes once and for all,
    the meter has another name from then on. Cells without a value do not count.
    """
    for name in others:
        cells = others[name].dropna().astype(str).str.strip()
        cells = cells[cells != ""]
        turns = cells[cells != cells.shift()]
        if turns.duplicated().any() and (_is_id(str(name)) or not turns.map(_is_measured).all()):
            return str(name), list(dict.fromkeys(turns))
    return None


def _is_id(name: str) -> bool:
    words = re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return bool(words) and all(_ID_WORD.fullmatch(word) for word in words)


def _is_measured(cell: str) -> bool:
    return _MEASURED.fullmatch(cell) is not None
