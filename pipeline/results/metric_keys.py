"""The keys of all metrics, defined here alone, with label, unit and meaning. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Metric(NamedTuple):
    """How a metric is shown: a label for an axis, its unit ("" for counts and ratios), its meaning."""

    label: str
    unit: str
    meaning: str


METRICS: Mapping[str, Metric] = {
    "latency_ms_mean": Metric("Mean latency", "ms", "Mean time from a request's arrival to its answer"),
    "latency_ms_p50": Metric("Median latency", "ms", "Half of the requests are answered within this time"),
    "latency_ms_p95": Metric(
        "95th-percentile latency", "ms", "95% of the requests are answered within this time"
    ),
    "latency_ms_p99": Metric(
        "99th-percentile latency", "ms", "99% of the requests are answered within this time"
    ),
    "latency_ms_predicted": Metric(
        "Predicted latency", "ms", "Prediction of the cost model for the plan as it ran, from the profile"
    ),
    "prediction_error_p50": Metric(
        "Median prediction error", "%", "Median of |measured ÷ predicted latency - 1| over random plans"
    ),
    "predictions_inside": Metric(
        "Predictions inside", "%", "Plans whose measured latency lies within the prediction's interval"
    ),
    "prediction_error_p95": Metric(
        "95th-percentile prediction error",
        "%",
        "95th percentile of |measured ÷ predicted latency - 1| over random plans",
    ),
    "throughput_rps": Metric("Throughput", "requests/s", "Requests answered per second of the run"),
    "requests_ok": Metric("Requests answered", "", "Requests that succeeded"),
    "requests_failed": Metric("Requests failed", "", "Requests that were started but did not succeed"),
    "requests_rejected": Metric(
        "Requests rejected", "", "Requests refused by the scheduler, by a full fleet or after max_wait_s"
    ),
    "slo_miss_rate": Metric(
        "Deadline misses", "", "Share of requests with a deadline that missed it, 0 to 1"
    ),
    "energy_j_per_inf": Metric("Energy per inference", "J", "The run's energy ÷ requests answered"),
    "network_j_per_inf": Metric(
        "Network energy per inference", "J", "The links' part of the energy per inference"
    ),
    "carbon_g_per_inf": Metric("Carbon per inference", "g", "The run's gCO2e ÷ requests answered"),
    "sci_g_per_inf": Metric(
        "SCI per inference", "g", "Software carbon intensity (ISO/IEC 21031), R = one inference"
    ),
    "inferences_per_g": Metric("Inferences per gram", "", "Requests answered ÷ the run's gCO2e"),
    "carbon_dynamic_g": Metric("Carbon of computing", "g", "gCO2e of devices' energy above idle, whole run"),
    "carbon_idle_g": Metric("Carbon of idling", "g", "gCO2e of reserved devices' idle power, whole run"),
    "carbon_network_g": Metric("Carbon of the network", "g", "gCO2e of moving tensors, whole run"),
    "carbon_embodied_g": Metric("Embodied carbon", "g", "The run's share of the devices' manufacture"),
    "carbon_total_g": Metric("Carbon", "g", "Sum of the run's components"),
    "transfer_bytes_per_inf": Metric(
        "Transfer per inference", "B", "Bytes moved between devices ÷ requests answered"
    ),
    "transfer_bytes_saved_per_inf": Metric(
        "Transfer saved per inference", "B", "Bytes that compression kept off the links ÷ requests answered"
    ),
    "stages": Metric("Stages", "", "Parts into which the model was cut"),
    "devices_used": Metric("Devices used", "", "Devices that computed at least one stage"),
    "scheduling_us_per_task": Metric("Scheduling per task", "µs", "Mean time of a scheduler's decision"),
    "top1_agreement": Metric(
        "Top-1 agreement", "", "Share of answers with the same most likely class as the unsplit model, 0 to 1"
    ),
    "output_max_abs_error": Metric(
        "Largest output error", "", "Largest difference of an output from the unsplit model's, in its units"
    ),
    "host_energy_j": Metric(
        "Energy of the experiment", "J", "Energy that this host used for the run, by its meter"
    ),
    "host_carbon_g": Metric(
        "Carbon of the experiment", "g", "gCO2e of the energy that this host used for the run"
    ),
    "host_j_per_inf": Metric(
        "Host energy per inference", "J", "Energy of the experiment ÷ requests answered"
    ),
    "host_drift": Metric("Host drift", "", "This host's time for the reference model now ÷ when profiled"),
    "change_g_per_inf": Metric(
        "Change of carbon", "g", "Carbon per inference of the second run - the first's"
    ),
    **{
        f"change_by_{effect}_g_per_inf": Metric(
            f"Change by {effect}", "g", f"Part of the change of carbon that is due to {what}"
        )
        for effect, what in (
            ("energy", "more or less energy"),
            ("intensity", "dirtier or cleaner electricity"),
            ("network", "the energy of links"),
            ("embodied", "the manufacture of devices"),
        )
    },
    "trials_complete": Metric("Trials complete", "", "Trials of the sweep that did not fail"),
    "trials_failed": Metric("Trials failed", "", "Trials that failed, or in a study lack an objective"),
    "hypervolume": Metric(
        "Hypervolume", "", "Volume between front and reference point, in the objectives' units"
    ),
    "front_size": Metric("Front size", "", "Trials that no other trial dominates"),
    "regret_to_exact": Metric(
        "Regret to the exact front", "", "1 - hypervolume ÷ the exact front's hypervolume"
    ),
    "regret_to_oracle": Metric(
        "Regret to the oracle",
        "",
        "Carbon of computing and network ÷ the least possible in hindsight with as many late answers - 1;"
        " an upper limit where only a lower bound of the least is known",
    ),
}
"""Every metric key that a run may have, without the ends of intervals and ranges (see below)."""

INTERVAL_ENDS = ("_lo", "_hi")
"""Suffixes of a metric's key: low and high end of its 95% interval."""
RANGE_ENDS = ("_low", "_high")
"""Suffixes of a metric's key: its value at the low and at the high ends of the ranges of its coefficients."""


def interval_keys(key: str) -> tuple[str, str]:
    """Keys of the low and high end of a metric's 95% interval."""
    low, high = INTERVAL_ENDS
    return key + low, key + high


def range_keys(key: str) -> tuple[str, str]:
    """Keys of a metric's values at both ends of its coefficients' ranges (`pipeline.carbon.coefficients`)."""
    low, high = RANGE_ENDS
    return key + low, key + high


def base_key(key: str) -> str:
    """The metric's key without the suffix of an end; a key without a suffix is returned unchanged."""
    return re.sub(f"({'|'.join(INTERVAL_ENDS + RANGE_ENDS)})$", "", key)


def interval_of(figures: Mapping[Any, Any] | pd.DataFrame, key: str) -> tuple[Any, Any] | None:
    """Both ends of a metric's 95% interval, or None where `figures` lacks them.

    They are two columns (`<key>_lo`, `<key>_hi`) where `figures` is a table, two values where it is a row.
    """
    low, high = interval_keys(key)
    return (figures[low], figures[high]) if low in figures and high in figures else None


def is_metric(key: str) -> bool:
    """Whether this version has a metric of that key; a stored run may be of another."""
    return key in METRICS or base_key(key) in METRICS


def metric(key: str) -> Metric:
    """The metric of a key, or of an end of its interval or range.

    Raises ValueError for a key that METRICS lacks.
    """
    found = METRICS.get(key) or METRICS.get(base_key(key))
    if found is None:
        raise ValueError(f"unknown metric {key!r}: expected one of {', '.join(METRICS)}")
    return found
