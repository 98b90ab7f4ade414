"""The only spelling of metric keys, and how people read them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """How people read a metric: a name for an axis, its unit ("" for counts and ratios), its meaning."""

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
        "Predicted latency", "ms", "What profile and cost model say for the plan as it ran"
    ),
    "prediction_error_p50": Metric(
        "Median prediction error", "%", "|measured ÷ predicted latency - 1|, median over random plans"
    ),
    "prediction_error_p95": Metric(
        "95th-percentile prediction error", "%", "|measured ÷ predicted latency - 1| over random plans"
    ),
    "throughput_rps": Metric("Throughput", "requests/s", "Requests answered per second of the run"),
    "requests_ok": Metric("Requests answered", "", "Requests that succeeded"),
    "requests_failed": Metric("Requests failed", "", "Requests that were started and did not succeed"),
    "requests_rejected": Metric("Requests rejected", "", "Requests that the scheduler refused"),
    "slo_miss_rate": Metric("Deadline misses", "", "Share of requests answered later than promised, 0 to 1"),
    "energy_j_per_inf": Metric("Energy per inference", "J", "The run's energy ÷ requests answered"),
    "network_j_per_inf": Metric("Network energy per inference", "J", "Of links, in the energy per inference"),
    "carbon_g_per_inf": Metric("Carbon per inference", "g", "The run's gCO2e ÷ requests answered"),
    "sci_g_per_inf": Metric(
        "SCI per inference", "g", "Software carbon intensity (ISO/IEC 21031), R = one inference"
    ),
    "inferences_per_g": Metric("Inferences per gram", "", "Requests answered ÷ the run's gCO2e"),
    "carbon_dynamic_g": Metric("Carbon of computing", "g", "gCO2e of the energy above idle, whole run"),
    "carbon_idle_g": Metric("Carbon of idling", "g", "gCO2e of reserved devices' idle power, whole run"),
    "carbon_network_g": Metric("Carbon of the network", "g", "gCO2e of moving tensors, whole run"),
    "carbon_embodied_g": Metric("Embodied carbon", "g", "The run's share of the devices' manufacture"),
    "carbon_total_g": Metric("Carbon", "g", "Sum of the run's components"),
    "transfer_bytes_per_inf": Metric("Transfer per inference", "B", "Bytes moved between devices ÷ requests"),
    "transfer_bytes_saved_per_inf": Metric(
        "Transfer saved per inference", "B", "Bytes that compression kept off the links ÷ requests"
    ),
    "stages": Metric("Stages", "", "Parts that the model was cut into"),
    "devices_used": Metric("Devices used", "", "Devices that computed at least one stage"),
    "scheduling_us_per_task": Metric("Scheduling per task", "µs", "Mean time of a scheduler's decision"),
    "top1_agreement": Metric("Top-1 agreement", "", "Share of answers equal to the unsplit model's, 0 to 1"),
    "output_max_abs_error": Metric(
        "Largest output error", "", "Largest difference of an output from the unsplit model's, in its units"
    ),
    "host_energy_j": Metric("Energy of the experiment", "J", "What running it cost this host, by its meter"),
    "host_carbon_g": Metric("Carbon of the experiment", "g", "What running it cost this host, by its meter"),
    "host_j_per_inf": Metric("Host energy per inference", "J", "That of the experiment ÷ requests answered"),
    "host_late": Metric("Host late", "", "Time for which other work on this host held stages up ÷ the run's"),
    "host_drift": Metric("Host drift", "", "This host's reference time now ÷ when profiled"),
    "change_g_per_inf": Metric("Change of carbon", "g", "Per inference, of the second run against the first"),
    **{
        f"change_by_{effect}_g_per_inf": Metric(f"Change by {effect}", "g", f"Of it what is due to {what}")
        for effect, what in (
            ("energy", "more or less energy"),
            ("intensity", "dirtier or cleaner electricity"),
            ("network", "what links move"),
            ("embodied", "manufacture of devices"),
        )
    },
    "trials_complete": Metric("Trials complete", "", "Trials of the sweep that gave every objective"),
    "trials_failed": Metric("Trials failed", "", "Trials of the sweep that did not"),
    "hypervolume": Metric("Hypervolume", "", "Volume between front and reference, in the objectives' units"),
    "front_size": Metric("Front size", "", "Trials that no other trial dominates"),
    "regret_to_exact": Metric("Regret to the exact front", "", "1 - hypervolume ÷ that of the exact front"),
    "regret_to_oracle": Metric(
        "Regret to the oracle",
        "",
        "Carbon of computing and network ÷ the least possible in hindsight with as many late answers - 1,"
        " or no more than that: the least is a bound where it cannot be found",
    ),
}
"""Every metric key that a run may have.

`<key>_lo` and `<key>_hi` are its 95% interval; `<key>_low` and `<key>_high` what it can be at the ends of its
coefficients' ranges (`pipeline.carbon.coefficients`).
"""


def metric(key: str) -> Metric:
    """The metric of a key or of an end of its interval; ValueError for a key that METRICS does not have."""
    found = METRICS.get(key) or METRICS.get(re.sub("_(lo|hi|low|high)$", "", key))
    if found is None:
        raise ValueError(f"unknown metric {key!r}: add it to METRICS or use one of {', '.join(METRICS)}")
    return found
