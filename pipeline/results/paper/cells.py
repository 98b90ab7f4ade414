"""Cells of the paper's tables: a mean with its interval, a change. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.results.metric_keys import interval_of
from pipeline.results.units import number

UNKNOWN = "–"
Row = Mapping[Any, Any]
"""A row of `measured` or of the published figures."""


def value(row: Row | None, key: str, factor: float = 1.0) -> str:
    """A mean times a factor, with its interval where there is one; a dash where it is unknown."""
    mean = math.nan if row is None else float(row.get(key, math.nan))
    if not math.isfinite(mean):
        return UNKNOWN
    low, high = interval_of(row or {}, key) or (math.nan, math.nan)
    interval = f" ({number(low * factor)}–{number(high * factor)})" if math.isfinite(low) else ""
    return number(mean * factor) + interval


def change(row: Row | None, base: Row | None, key: str) -> str:
    """A figure's change against the base row's; a dash where one is unknown, and for the base itself."""
    values = [math.nan if each is None else float(each.get(key, math.nan)) for each in (row, base)]
    known = all(map(math.isfinite, values)) and values[1] > 0
    return f"{values[0] / values[1] - 1:+.1%}" if known and row is not base else UNKNOWN


def stated_change(paper: Row | None) -> str:
    """The change of carbon against monolithic that the paper states."""
    stated = math.nan if paper is None else float(paper["change"])
    return f"{stated:+.1%}" if math.isfinite(stated) else UNKNOWN
