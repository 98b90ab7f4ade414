"""How values are shown: labels, units of fitting size, digits, intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipeline.results.metric_keys import interval_of, metric

PLAN = {
    "name": "trial",
    "cuts": "cuts",
    "devices": "devices",
    "scheduler": "scheduler",
    "carbon_weight": "carbon weight",
    "run_id": "run",
}
"""Columns of a table of trials that identify a plan, and their headings. All of them are optional."""


def scaled_label(key: str, values: ArrayLike) -> tuple[str, float]:
    """A metric's label with a unit that fits the largest value, and the factor from the key's unit to it.

    For example `("Carbon per inference (mg)", 1000.0)`. values: of any shape, in the key's unit; NaN and
    infinity do not count. Raises ValueError for an unknown key.
    """
    label, unit, _ = metric(key)
    sizes = np.abs(np.asarray(values, dtype=float))
    largest = sizes[np.isfinite(sizes)].max(initial=0.0)
    if key.endswith("_rate"):
        return f"{label} (%)", 100.0
    if unit not in ("g", "J", "B") or largest == 0:
        return f"{label} ({unit})" if unit else label, 1.0
    power = min(max(math.floor(math.log10(largest) / 3), -3), 2)
    return f"{label} ({'nµm kM'[power + 3].strip()}{unit})", 1000.0**-power


def number(value: float | None) -> str:
    """A value as text: four significant digits, from 1,000 on no decimals; n/a where unknown."""
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def counted(count: int, what: str, plural: str | None = None) -> str:
    """`1 plan`, `2 plans`; plural: where it is not `what` with an s."""
    return f"{count} {what if count == 1 else plural or f'{what}s'}"


def scaled(factor: float, value: float) -> str:
    """A value times the factor to the unit shown, as `number` formats it."""
    return number(value * factor)


def text(value: Any) -> str:
    """A cell's text: `n/a` for an unknown value (None, NaN), `none` for an empty one."""
    unknown = value is None or value != value
    return "n/a" if unknown else str(value) or "none"


def with_interval(row: Mapping[Any, Any], key: str, shown: Callable[[float], str]) -> str:
    """A metric of a row, its 95% interval on a second line where it has one; a dash where it is NaN.

    shown: formats a number.
    """
    if not math.isfinite(row[key]):
        return "–"
    low, high = interval_of(row, key) or (math.nan, math.nan)
    return shown(row[key]) + (f"\n{shown(low)} to {shown(high)}" if math.isfinite(low) else "")
