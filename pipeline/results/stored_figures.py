"""Whether a stored run's metrics follow from its ledger and its records, which may be anybody's. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.domain.checks import ROUNDING, require
from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records, by_request
from pipeline.results.accountant import is_carbon_metric
from pipeline.results.latencies import REQUEST_COMPONENTS, ClassTotals
from pipeline.results.metric_keys import base_key
from pipeline.results.metric_values import PERCENTILES, require_metrics
from pipeline.results.metrics import carbon_metrics, summed

OF_REQUESTS = (*PERCENTILES, "latency_ms_mean", "slo_miss_rate", "throughput_rps", "transfer_bytes_per_inf")
"""Metrics that a run has only where its records give them."""


def by_ledger(
    owner: str, metrics: Mapping[str, float], ledger: pd.DataFrame, fleet: Fleet, accounting: Accounting
) -> dict[str, float]:
    """A run's metrics, those of energy and carbon as its ledger gives them (columns: LEDGER_COLUMNS).

    metrics: `requests_ok` among them. Raises ConfigError naming owner and metric, if one does not follow.
    """
    left_out = [each for each in COMPONENTS if f"carbon_{each}_g" not in metrics]
    unstated = sorted({*ledger["component"].astype(str)}.intersection(left_out))
    require(not unstated, f"{owner}: has {', '.join(unstated)} in its ledger.json, but no metric of it")
    found = carbon_metrics(summed(ledger), left_out, int(metrics["requests_ok"]), fleet, accounting)
    if "host_energy_j" in metrics and metrics["requests_ok"]:
        found["host_j_per_inf"] = metrics["host_energy_j"] / metrics["requests_ok"]
    require_metrics(owner, found)
    given = {key: value for key, value in metrics.items() if is_carbon_metric(key) or key == "host_j_per_inf"}
    given.pop("regret_to_oracle", None)
    _require_same(owner, given, found, "ledger.json", ROUNDING)
    return {**metrics, **found}


def by_window(owner: str, metrics: Mapping[str, float], window_s: float) -> None:
    """Raise ConfigError naming the owner, if a run's throughput does not follow from its window."""
    if metrics["requests_ok"]:
        require(window_s > 0, f"{owner}: its run.json has a window_s of 0, in which nothing is answered")
        found = {"throughput_rps": metrics["requests_ok"] / window_s}
        given = {key: value for key, value in metrics.items() if key in found}
        _require_same(owner, given, found, "run.json", 1e-9)


def by_records(owner: str, metrics: Mapping[str, float], records: Records) -> dict[str, float]:
    """The metrics of a run's requests, as its records give them; intervals are those that the run states.

    Its window must have passed `by_window`. Raises ConfigError naming owner and metric, if one of the run's
    metrics does not follow.
    """
    requests = by_request(records)
    deadline_s = requests["deadline_s"].astype(float).fillna(math.inf)  # as it is stored, none is empty
    totals = ClassTotals()
    totals.add(requests.assign(deadline_s=deadline_s, **dict.fromkeys(REQUEST_COMPONENTS, 0.0)))
    num_ok, window_s = totals.latencies.count, records.window_s
    moved = records.table.loc[records.table["kind"] == "transfer", "bytes"]
    found: dict[str, float] = {
        "requests_ok": num_ok,
        "requests_failed": totals.num_requests - num_ok - totals.num_rejected,
        "requests_rejected": totals.num_rejected,
        "devices_used": len(records.reserved),
        **totals.latency_metrics(),
    }
    if num_ok:
        found["throughput_rps"] = num_ok / window_s
        found["transfer_bytes_per_inf"] = float(moved.sum()) / num_ok
        found |= {key: value for key, value in totals.latency_intervals().items() if key in metrics}
        if len({*requests["model"]}) == 1:  # of several, the one of most stages may have no answers
            answered = records.table["request"].isin(requests.index[~requests["failed"]])
            found["stages"] = int(records.table.loc[answered, "stage"].max()) + 1
    given = {key: value for key, value in metrics.items() if key in found or base_key(key) in OF_REQUESTS}
    _require_same(owner, given, found, "records.json and run.json", 1e-9)
    return found


def _require_same(
    owner: str, given: Mapping[str, float], expected: Mapping[str, float], source: str, rel_tol: float
) -> None:
    """Raise ConfigError naming owner and metric for a given one that is not as expected, or not expected."""
    for key, value in given.items():
        require(key in expected, f"{owner}: has {key}, which does not follow from its {source}")
        same = math.isclose(value, expected[key], rel_tol=rel_tol)
        require(same, f"{owner}: {key} is {value!r}, but {expected[key]!r} by its {source}")
