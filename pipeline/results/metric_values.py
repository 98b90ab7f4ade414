"""The values that metrics can have; a stored one may be anybody's. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS
from pipeline.domain.checks import LARGEST, ROUNDING, require, require_number
from pipeline.results.metric_keys import (
    INTERVAL_ENDS,
    base_key,
    interval_keys,
    is_metric,
    metric,
    range_keys,
)

PERCENTILES = ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
COUNTS = frozenset(
    {
        "requests_ok", "requests_failed", "requests_rejected", "stages", "devices_used", "trials_complete",
        "trials_failed", "front_size",
    }
)  # fmt: skip
"""Metrics that are whole numbers."""
UNIT_MOST = {
    "ms": 1e3 * LARGEST["_s"],
    "µs": 1e6 * LARGEST["_s"],
    "J": LARGEST["_j"],
    "g": LARGEST["_g"],
    "B": LARGEST["_bytes"],
    "requests/s": 1e15,
    "%": 1e9,
}
"""The largest value that can be meant, by a metric's unit."""
MOST = {
    **dict.fromkeys(COUNTS, 1e15),
    **dict.fromkeys(("stages", "devices_used"), 1e6),
    **dict.fromkeys(("slo_miss_rate", "top1_agreement", "regret_to_exact"), 1.0),
    "predictions_inside": 100.0,
    "inferences_per_g": 1e30,
    "regret_to_oracle": 1e18,
    "host_drift": 1e9,
}
"""The same for metrics whose unit does not tell; others, such as hypervolume: BEYOND."""
BEYOND = 1e90
"""Larger than any figure of a run; the product of three such figures is still a number."""
LEAST = {
    "regret_to_exact": -1.0,  # of runs of earlier versions, by rounding
    "regret_to_oracle": -1.0,
    "transfer_bytes_saved_per_inf": -LARGEST["_bytes"],  # a code may be longer than a tiny tensor
}
"""The least value of metrics that may be below 0, besides changes."""


def require_metric(owner: str, key: str, value: float, *, least: float = 0.0, mean: bool = False) -> None:
    """Raise ConfigError naming owner and metric for a value that it cannot have.

    A metric of another version is only finite. least: of a metric that is never below 0. mean: the value is
    a mean over runs, which need not be whole, or an end of its interval, which is only finite.
    """
    low, high = -math.inf, math.inf
    name = base_key(key)
    if is_metric(key) and not (mean and key.endswith(INTERVAL_ENDS)):
        high = MOST.get(name, UNIT_MOST.get(metric(key).unit, BEYOND))
        low = -high if name.startswith("change_") else LEAST.get(name, least)
    require_number(owner, key, value, least=low, most=high)
    whole = name not in COUNTS or mean or float(value).is_integer()
    require(whole, f"{owner}: {key} must be a whole number ({key}: {value!r})")


def require_metrics(owner: str, metrics: Mapping[str, float]) -> None:
    """Raise ConfigError naming owner and metric for the first value that its metric cannot have.

    metrics: those of one run. Its percentiles are in order, each value lies between its ends, and the
    components of its carbon add up.
    """
    for key, value in metrics.items():
        require_metric(owner, key, value)
    for low, high in pairwise(PERCENTILES):
        _require_order(owner, metrics, low, high)
    for key in metrics:
        for ends in (interval_keys(key), range_keys(key)):
            _require_order(owner, metrics, ends[0], key)
            _require_order(owner, metrics, key, ends[1])
    parts = [metrics[f"carbon_{each}_g"] for each in COMPONENTS if f"carbon_{each}_g" in metrics]
    total_g = metrics.get("carbon_total_g", math.fsum(parts))
    whole = not parts or math.isclose(total_g, math.fsum(parts), rel_tol=ROUNDING)
    require(whole, f"{owner}: carbon_total_g must be the sum of its components (carbon_total_g: {total_g!r})")


def _require_order(owner: str, metrics: Mapping[str, float], low: str, high: str) -> None:
    if low in metrics and high in metrics:
        ordered = metrics[low] <= metrics[high] + ROUNDING * abs(metrics[high])
        require(ordered, f"{owner}: {high} must be no less than {low} ({high}: {metrics[high]!r})")


def require_metric_columns(owner: str, table: pd.DataFrame, *, mean: bool = False) -> None:
    """Raise ConfigError naming owner and metric for a value in its column that it cannot have, and for text.

    NaN: the row has no value.
    """
    for key in filter(is_metric, map(str, table)):
        values = pd.to_numeric(table[key], errors="coerce")
        known = values.dropna().astype(float)
        require(len(known) == table[key].count(), f"{owner}: {key} must be a number in every row")
        for value in (*known[known % 1 != 0][:1], known.min(), known.max()) if len(known) else ():
            require_metric(owner, key, float(value), mean=mean)
