"""The values that metrics can have; a stored one may be anybody's. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS
from pipeline.domain.checks import LARGEST, ROUNDING, require, require_number
from pipeline.domain.energy import carbon_g
from pipeline.domain.number_columns import with_numbers
from pipeline.results.metric_keys import (
    INTERVAL_ENDS,
    RANGE_ENDS,
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
FARTHEST_END = 20
"""Times the largest value, the end of a mean's interval: Student's t of two runs is 12.7."""
BEYOND = 1e90
"""Larger than any figure of a run; the product of three such figures is still a number."""
PRODUCTS = {
    **{f"carbon_total_g{end}": (f"carbon_g_per_inf{end}", "requests_ok") for end in ("", *RANGE_ENDS)},
    "sci_g_per_inf": ("carbon_g_per_inf",),
    "requests_ok": ("inferences_per_g", "carbon_total_g"),
    "host_energy_j": ("host_j_per_inf", "requests_ok"),
}
"""Metrics of a run that are the product of two others."""
NOTHING_WITHOUT = {
    "network_j_per_inf": "transfer_bytes_per_inf",
    "carbon_network_g": "network_j_per_inf",
    "carbon_dynamic_g": "energy_j_per_inf",
    "carbon_idle_g": "energy_j_per_inf",
    "throughput_rps": "requests_ok",
    "requests_ok": "stages",
    "stages": "devices_used",
    "front_size": "trials_complete",
}
"""Metrics of a run that are 0 where another one is 0."""
NO_MORE_THAN = {"network_j_per_inf": "energy_j_per_inf", "front_size": "trials_complete"}
"""Metrics of a run that another one contains."""
LEAST = {
    "regret_to_exact": -1.0,  # of runs of earlier versions, by rounding
    "regret_to_oracle": -1.0,
    "transfer_bytes_saved_per_inf": -LARGEST["_bytes"],  # a code may be longer than a tiny tensor
}
"""The least value of metrics that may be below 0, besides changes."""


def require_metric(owner: str, key: str, value: float, *, least: float = 0.0, mean: bool = False) -> None:
    """Raise ConfigError naming owner and metric for a value that it cannot have.

    A metric of another version is only finite. least: of a metric that is never below 0. mean: the value is
    a mean over runs, which need not be whole, or an end of its interval, which may lie below 0.
    """
    low, high = -math.inf, math.inf
    name = base_key(key)
    if is_metric(key):
        high = MOST.get(name, UNIT_MOST.get(metric(key).unit, BEYOND))
        is_end = mean and key.endswith(INTERVAL_ENDS)
        high *= FARTHEST_END if is_end else 1
        low = -high if is_end or name.startswith("change_") else LEAST.get(name, least)
    require_number(owner, key, value, least=low, most=high)
    whole = name not in COUNTS or mean or float(value).is_integer()
    require(whole, f"{owner}: {key} must be a whole number ({key}: {value!r})")


def require_metrics(owner: str, metrics: Mapping[str, float], *, mean: bool = False) -> None:
    """Raise ConfigError naming owner and metric for the first value that its metric cannot have.

    metrics: those of one run. Its percentiles are in order, each value lies between its ends, the components
    of its carbon add up, and what it has per inference and per gram is its total, divided. mean: see
    `require_metric`; means of quotients are no quotients of means.
    """
    for key, value in metrics.items():
        require_metric(owner, key, value, mean=mean)
    for low, high in pairwise(PERCENTILES):
        _require_order(owner, metrics, low, high)
    for key in metrics:
        for ends in (interval_keys(key), range_keys(key)):
            _require_order(owner, metrics, ends[0], key)
            _require_order(owner, metrics, key, ends[1])
    if not mean:
        _require_carbon(owner, metrics)
        _require_of_one_run(owner, metrics)


def _require_carbon(owner: str, metrics: Mapping[str, float]) -> None:
    """Raise ConfigError naming owner and metric where totals, components and quotients of a run disagree."""
    for product, factors in PRODUCTS.items():
        if all(key in metrics for key in (product, *factors)):
            expected = math.prod(metrics[key] for key in factors)
            same = math.isclose(metrics[product], expected, rel_tol=ROUNDING)
            require(
                same, f"{owner}: {product} must be {' x '.join(factors)} ({product}: {metrics[product]!r})"
            )
    host_g = metrics.get("host_carbon_g", 0.0)
    most_g = carbon_g(metrics.get("host_energy_j", 0.0), LARGEST["_g_per_kwh"], 1.0) * (1 + ROUNDING)
    require(
        host_g <= most_g,
        f"{owner}: host_carbon_g must be at most {most_g:g} by its energy (host_carbon_g: {host_g!r})",
    )
    parts = [metrics[f"carbon_{each}_g"] for each in COMPONENTS if f"carbon_{each}_g" in metrics]
    total_g = metrics.get("carbon_total_g", math.fsum(parts))
    whole = not parts or math.isclose(total_g, math.fsum(parts), rel_tol=ROUNDING)
    require(whole, f"{owner}: carbon_total_g must be the sum of its components (carbon_total_g: {total_g!r})")


def _require_of_one_run(owner: str, metrics: Mapping[str, float]) -> None:
    """Raise ConfigError naming owner and metric where something comes of nothing, or a part is the larger."""
    for key, source in NOTHING_WITHOUT.items():
        nothing = metrics.get(source) == 0 and metrics.get(key, 0.0) > 0
        require(not nothing, f"{owner}: {key} must be 0 where {source} is ({key}: {metrics.get(key)!r})")
    for part, whole in NO_MORE_THAN.items():
        _require_order(owner, metrics, part, whole)
    half_ms = metrics.get("latency_ms_p50", 0.0) / 2  # half of the latencies are no shorter than the median
    mean_ms = metrics.get("latency_ms_mean", half_ms) * (1 + ROUNDING)
    require(mean_ms >= half_ms, f"{owner}: latency_ms_mean must be at least {half_ms:g}, half of the median")


def _require_order(owner: str, metrics: Mapping[str, float], low: str, high: str) -> None:
    if low in metrics and high in metrics:
        ordered = metrics[low] <= metrics[high] + ROUNDING * abs(metrics[high])
        require(ordered, f"{owner}: {high} must be no less than {low} ({high}: {metrics[high]!r})")


def with_metrics(owner: str, table: pd.DataFrame, *, mean: bool = False) -> pd.DataFrame:
    """The table, its metrics as numbers, NaN where a row has none.

    Raises ConfigError naming owner and metric for text, and for the first row as `require_metrics`.
    """
    table = with_numbers(owner, table, [key for key in map(str, table) if is_metric(key)])
    for row in table[[key for key in map(str, table) if is_metric(key)]].to_dict("records"):
        require_metrics(owner, {str(k): float(v) for k, v in row.items() if v == v}, mean=mean)  # not NaN
    return table
