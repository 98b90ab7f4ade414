"""Records and ledger -> the figures of a run, under the keys of DESIGN. Pure.

A figure that a run cannot know is left out, never written as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from pipeline.cost import predict
from pipeline.domain import COMPRESSIONS, Plan, Problem, Records
from pipeline.ledger import carbon_by_component, known_components


def request_latency_s(records: Records) -> pd.Series:
    """Seconds from a request's arrival to its answer, by request, of those that were answered."""
    table = records.table
    failed = table.loc[table["status"] == "failed", "request"].unique()
    spans = table.groupby("request").agg(begin=("queued_s", "min"), end=("end_s", "max"))
    return (spans["end"] - spans["begin"]).drop(failed)


def slo_miss_rate(records: Records, latency_s: pd.Series) -> float | None:
    """Share of the requests with a deadline that were answered late or not at all; None without any."""
    deadline_s = records.table.groupby("request")["deadline_s"].first()
    promised = deadline_s[np.isfinite(deadline_s)]
    if promised.empty:
        return None
    return float((latency_s.reindex(promised.index, fill_value=np.inf) > promised).mean())


def devices_by_stage(records: Records) -> tuple[tuple[str, ...], ...]:
    """For each stage the devices that ran it, the most used first (ties by name)."""
    compute = records.table[records.table["kind"] == "compute"]
    counts = compute.groupby(["stage", "device"], observed=True).size().reset_index(name="tasks")
    ordered = counts.sort_values(["stage", "tasks", "device"], ascending=[True, False, True])
    return tuple(tuple(map(str, rows["device"])) for _, rows in ordered.groupby("stage"))


def as_it_ran(plan: Plan, records: Records) -> Plan | None:
    """The plan with the devices that the scheduler chose; None where a stage ran on several."""
    devices = devices_by_stage(records)
    if len(devices) != plan.num_stages or any(len(names) != 1 for names in devices):
        return None
    return replace(plan, devices=tuple(names[0] for names in devices))


def top1_agreement(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Share of answers whose most likely class is the unsplit model's."""
    same = [bool(a.argmax() == b.argmax()) for a, b in zip(outputs, expected, strict=True)]
    return sum(same) / len(same)


def output_max_abs_error(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest |value - the unsplit model's| in any answer."""
    return max(float((a - b).abs().max()) for a, b in zip(outputs, expected, strict=True))


def bytes_saved(problem: Problem, plan: Plan, records: Records) -> int:
    """Bytes that the plan's compression kept off the links, over the whole run."""
    cuts = problem.along(plan).graph.cuts
    moved = records.table[records.table["kind"] == "transfer"]
    plain = sum(cuts[plan.bounds[int(stage)]].num_bytes for stage in moved["stage"])
    return plain - int(moved["bytes"].sum())


def summarise(problem: Problem, plan: Plan, records: Records, ledger: pd.DataFrame) -> dict[str, float]:
    """The metrics of a run (keys and units as in pipeline.tracking.METRICS)."""
    table = records.table
    known = known_components(records, problem.fleet)
    latency_s = request_latency_s(records)
    latency_ms = latency_s.to_numpy() * 1e3
    num_ok = len(latency_ms)
    num_rejected = int(table.loc[table["kind"] == "rejected", "request"].nunique())
    num_failed = int(table["request"].nunique()) - num_ok - num_rejected
    metrics: dict[str, float] = {
        "requests_ok": num_ok,
        "requests_failed": num_failed,
        "requests_rejected": num_rejected,
        "stages": plan.num_stages,
        "devices_used": len(records.reserved),
    }
    for name in ("host_drift", "host_late"):
        value = getattr(records, name)
        if value is not None:
            metrics[name] = value
    carbon = carbon_by_component(ledger, known)
    metrics |= {f"carbon_{component}_g": grams for component, grams in carbon.items()}
    if records.scheduling_s:
        metrics["scheduling_us_per_task"] = float(np.mean(records.scheduling_s)) * 1e6
    missed = slo_miss_rate(records, latency_s)
    if missed is not None:
        metrics["slo_miss_rate"] = missed
    if num_ok:
        metrics["latency_ms_mean"] = float(latency_ms.mean())
        for percent in (50, 95, 99):
            metrics[f"latency_ms_p{percent}"] = float(np.percentile(latency_ms, percent))
        metrics["throughput_rps"] = num_ok / records.window_s
        energy_j = float(ledger.loc[ledger["component"].isin(known), "energy_j"].sum())
        metrics["energy_j_per_inf"] = energy_j / num_ok
        metrics["carbon_g_per_inf"] = carbon["total"] / num_ok
        if carbon["total"] > 0:
            metrics["inferences_per_g"] = num_ok / carbon["total"]
        moved = table.loc[table["kind"] == "transfer", "bytes"]
        metrics["transfer_bytes_per_inf"] = float(moved.sum()) / num_ok
        if plan.compression != COMPRESSIONS[0]:
            metrics["transfer_bytes_saved_per_inf"] = bytes_saved(problem, plan, records) / num_ok
    placed = as_it_ran(plan, records)
    if placed is not None:
        predicted_ms = float(predict(problem, [placed]).latency_s[0]) * 1e3
        metrics["latency_ms_predicted"] = predicted_ms
        errors = [problem.profile.error.get(name) for name in placed.devices]
        known_errors = [error for error in errors if error is not None]
        if len(known_errors) == len(errors):
            metrics["latency_ms_predicted_lo"] = predicted_ms * max(0.0, 1 - max(known_errors))
            metrics["latency_ms_predicted_hi"] = predicted_ms * (1 + max(known_errors))
    return metrics


def labels_of(choices: Mapping[str, str], plan: Plan, records: Records) -> dict[str, str]:
    """What people tell runs apart by. A plan without auto stages asks no scheduler: `pinned`."""
    scheduler = choices.get("scheduler", "") if records.scheduling_s else "pinned"
    return {
        "cuts": ", ".join(map(str, plan.bounds[1:-1])) or "none",
        "devices": " → ".join("|".join(names) for names in devices_by_stage(records)),
        "partitioner": choices.get("partitioner", ""),
        "scheduler": scheduler,
    }


def run_name(plan: Plan, labels: Mapping[str, str]) -> str:
    """Such as `green · 2 stages · cut 41 · node-medium → node-green`."""
    count = f"{plan.num_stages} stage{'s' if plan.num_stages > 1 else ''}"
    cut = [f"cut {labels['cuts']}"] if plan.num_stages > 1 else []
    return " · ".join([labels["scheduler"], count, *cut, labels["devices"]])
