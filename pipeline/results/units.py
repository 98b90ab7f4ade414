"""How figures are shown to people: names, units of fitting size, digits. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pipeline.results.metric_table import metric

PLAN = {
    "name": "trial",
    "cuts": "cuts",
    "devices": "devices",
    "scheduler": "scheduler",
    "carbon_weight": "carbon weight",
    "run_id": "run",
}
"""What tells a plan apart: optional columns of the trials, and how people call them."""


def readable(key: str, values: ArrayLike) -> tuple[str, float]:
    """A metric's name with a unit of fitting size, as `Carbon per inference (mg)`, and the factor to it."""
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
    """Four significant digits, or n/a."""
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def text(value: Any) -> str:
    """A value for people, who may not know it or say none."""
    return "n/a" if pd.isna(value) else str(value) or "none"
