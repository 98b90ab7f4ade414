"""Values of metrics that no run can have are refused; those that runs have are not."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.results.metric_keys import METRICS
from pipeline.results.metric_values import require_metric, require_metrics, with_metrics


@pytest.mark.parametrize("key", METRICS)
def test_no_metric_is_nan_or_infinite(key: str) -> None:
    require_metrics("run", {"host_energy_j": 1e4, key: 1.0} if key == "host_carbon_g" else {key: 1.0})
    for value in (math.nan, math.inf, -math.inf, -1e308):
        with pytest.raises(ConfigError, match=rf"^run: {key} must be .*{key}: "):
            require_metric("run", key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("requests_ok", -1.0),
        ("requests_failed", 0.5),
        ("requests_ok", 1e300),
        ("latency_ms_p95_lo", -1e-9),
        ("latency_ms_mean", 1.1e12),
        ("slo_miss_rate", 1.01),
        ("carbon_total_g_high", 1e19),
        ("change_g_per_inf_low", -1e19),
        ("throughput_rps", 1e300),
        ("inferences_per_g", 1e300),
        ("of another version", math.inf),
    ],
)
def test_what_cannot_be(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^run: {key} must be "):
        require_metrics("run", {key: value})


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        (
            {"latency_ms_p50": 2.0, "latency_ms_p95": 1.0},
            "latency_ms_p95 must be no less than latency_ms_p50",
        ),
        ({"latency_ms_p50": 2.0, "latency_ms_p50_lo": 3.0}, "latency_ms_p50 must be no less than"),
        ({"carbon_total_g": 2.0, "carbon_total_g_high": 1.0}, "carbon_total_g_high must be no less than"),
        (
            {"carbon_total_g": 1.0, "carbon_dynamic_g": 9.0},
            "carbon_total_g must be the sum of its components",
        ),
        (
            {"carbon_g_per_inf": 1e17, "carbon_total_g": 1.0, "requests_ok": 5.0},
            "carbon_total_g must be carbon_g_per_inf x requests_ok",
        ),
        (
            {"inferences_per_g": 1e29, "carbon_total_g": 0.0, "requests_ok": 5.0},
            "requests_ok must be inferences_per_g x carbon_total_g",
        ),
        ({"energy_j_per_inf": 0.0, "carbon_dynamic_g": 1.0}, "carbon_dynamic_g must be 0 where energy_j_per"),
        (
            {"network_j_per_inf": 2.0, "energy_j_per_inf": 1.0},
            "energy_j_per_inf must be no less than network",
        ),
        ({"network_j_per_inf": 2.0, "transfer_bytes_per_inf": 0.0}, "network_j_per_inf must be 0 where"),
        ({"network_j_per_inf": 0.0, "carbon_network_g": 1.0}, "carbon_network_g must be 0 where network_j"),
        ({"sci_g_per_inf": 2.0, "carbon_g_per_inf": 1.0}, "sci_g_per_inf must be carbon_g_per_inf"),
        ({"latency_ms_p50": 29.0, "latency_ms_mean": 0.0}, "latency_ms_mean must be at least 14.5"),
        ({"requests_ok": 0.0, "throughput_rps": 1.0}, "throughput_rps must be 0 where requests_ok is"),
        ({"requests_ok": 1.0, "stages": 0.0}, "requests_ok must be 0 where stages is"),
        ({"front_size": 3.0, "trials_complete": 2.0}, "trials_complete must be no less than front_size"),
        (
            {"carbon_total_g_low": 3.0, "carbon_g_per_inf_low": 1.0, "requests_ok": 2.0},
            "carbon_total_g_low must be carbon_g_per_inf_low x requests_ok",
        ),
        ({"host_energy_j": 0.0, "host_carbon_g": 1e-9}, "host_carbon_g must be at most 0 by its energy"),
        ({"host_energy_j": 3.6e6, "host_carbon_g": 2001.0}, "host_carbon_g must be at most 2000 by its"),
        (
            {"host_energy_j": 1.0, "host_j_per_inf": 1e17, "requests_ok": 5.0},
            "host_energy_j must be host_j_per_inf x requests_ok",
        ),
    ],
)
def test_figures_of_one_run_that_contradict_each_other(metrics: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^run: {complaint}"):
        require_metrics("run", metrics)


def test_what_can_be() -> None:
    require_metrics("run", {"carbon_total_g": 3.0, "carbon_dynamic_g": 1.0, "carbon_idle_g": 2.0})
    require_metrics("run", {"change_g_per_inf": -1.0, "change_g_per_inf_low": -2.0, "requests_ok": 0.0})
    require_metrics("run", {"output_max_abs_error": 1e80, "hypervolume": 1e40, "of another version": -1.0})
    require_metrics("run", {"regret_to_oracle": -1e-3, "transfer_bytes_saved_per_inf": -6.0})
    require_metric("mean", "requests_ok", 0.5, mean=True)
    require_metric("mean", "latency_ms_mean_lo", -0.5, mean=True)
    require_metric("mean", "slo_miss_rate_hi", 1.2, mean=True)


def test_columns() -> None:
    table = pd.DataFrame({"requests_ok": [1.0, None], "cuts": ["none", "3"], "repeats": [1, 2]})
    with_metrics("sweep", table)
    with pytest.raises(ConfigError, match="^sweep: requests_ok must be a whole number .requests_ok: 0.5."):
        with_metrics("sweep", table.assign(requests_ok=[1.0, 0.5]))
    with_metrics("sweep", table.assign(requests_ok=[1.0, 0.5]), mean=True)
    with pytest.raises(ConfigError, match="^sweep: latency_ms_p50 must be a number >= 0 .*-7"):
        with_metrics("sweep", table.assign(latency_ms_p50=[1.0, -7.0]))
    with pytest.raises(ConfigError, match="^sweep: latency_ms_p50 must be a number in every row"):
        with_metrics("sweep", table.assign(latency_ms_p50=["fast", 1.0]))
    with_metrics("sweep", table[:0])
    with pytest.raises(ConfigError, match="^sweep: latency_ms_p50 must be no less than latency_ms_p50_lo"):
        with_metrics(
            "sweep", table.assign(latency_ms_p50=[2.0, 1.0], latency_ms_p50_lo=[1.0, 9.0]), mean=True
        )
    with pytest.raises(ConfigError, match="^sweep: latency_ms_p50_lo must be a number >= -"):
        with_metrics("sweep", table.assign(latency_ms_p50_lo=[1.0, -1e300]), mean=True)
