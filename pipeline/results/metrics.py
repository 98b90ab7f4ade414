"""Records and ledger -> the figures of a run, under the keys of DESIGN. Pure.

A figure that a run cannot know is left out, never written as 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting, boundary
from pipeline.carbon.ledger import LEDGER_COLUMNS, unknown
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import COMPRESSIONS, Plan
from pipeline.domain.records import Records, by_request
from pipeline.domain.requests import RequestClass
from pipeline.execution.job import Service
from pipeline.planning.cost import predict
from pipeline.results.latencies import OWN, Class


class Summary:
    """What a run's figures are made of, added up over parts of its records; it does not grow with them."""

    def __init__(self, services: Sequence[Service], accounting: Accounting | None = None) -> None:
        self._accounting = accounting or Accounting()
        self._services = {service.problem.graph.name: service for service in services}
        self._fleet = services[0].problem.fleet
        self._all = Class()
        self._classes: dict[tuple[str, str, float], Class] = {}
        self._left_out: dict[str, str] = {}
        """Components that it cannot state, and why."""
        self._spent: dict[tuple[int, str, str, str], tuple[float, float, float]] = {}
        """By stage, device, component and link: energy_j, carbon_g, PUE."""
        self._tasks: Counter[tuple[Any, ...]] = Counter()
        """By model, stage and device."""
        self._moved: Counter[tuple[Any, ...]] = Counter()
        """Transfers by model and the stage that they are for."""
        self._num_bytes = 0
        self._num_decisions = 0
        self._scheduling_s = 0.0
        self._end: Records | None = None
        self.reasons: set[str] = set()
        """Why requests failed."""

    @classmethod
    def of(cls, services: Sequence[Service], records: Records, ledger: pd.DataFrame) -> Summary:
        """Of a whole run at once."""
        summary = cls(services)
        summary.add(records, ledger)
        return summary

    def add(self, records: Records, ledger: pd.DataFrame) -> None:
        """Take in a part of the records, all rows of each of its requests, and its ledger.

        The last part is the one that knows the run's window and its reserved devices.
        """
        self._end = records
        self._left_out |= unknown(records, self._fleet)
        for row in summed(ledger).to_dict("records"):
            key = (row["stage"], row["device"], row["component"], row["link"])
            energy_j, grams, _ = self._spent.get(key, (0.0, 0.0, 0.0))
            self._spent[key] = (energy_j + row["energy_j"], grams + row["carbon_g"], row["pue"])
        self._num_decisions += len(records.scheduling_s)
        self._scheduling_s += sum(records.scheduling_s)
        if records.table.empty:
            return
        requests = by_request(records)
        for component in OWN:
            own = ledger[ledger["component"] == component].groupby("request")["carbon_g"].sum()
            requests[component] = own.reindex(requests.index, fill_value=0.0)
        self._all.add(requests)
        kinds = requests[["model", "tenant", "deadline_s"]].drop_duplicates()
        for model, tenant, deadline_s in kinds.itertuples(index=False):
            rows = requests[
                (requests["model"] == model)
                & (requests["tenant"] == tenant)
                & (requests["deadline_s"] == deadline_s)
            ]
            of = self._classes.setdefault((str(model), str(tenant), float(deadline_s)), Class())
            of.add(rows)
        table = records.table
        compute, moved = (table[table["kind"] == kind] for kind in ("compute", "transfer"))
        self._tasks.update(_counted(compute, "model", "stage", "device"))
        self._moved.update(_counted(moved, "model", "stage"))
        self._num_bytes += int(moved["bytes"].sum())
        self.reasons |= set(table.loc[table["status"] == "failed", "reason"].astype(str).unique())

    @property
    def _known(self) -> list[str]:
        return [component for component in COMPONENTS if component not in self._left_out]

    def boundary(self, grid: Mapping[str, str]) -> str:
        """What the run's figures hold and leave out; grid: what it says of itself (`Grid.about`)."""
        return boundary(self._left_out, self._accounting, grid)

    def devices_by_stage(self, model: str) -> tuple[tuple[str, ...], ...]:
        """For each stage of a model the devices that ran it, the most used first (ties by name)."""
        ranked = sorted((stage, -n, device) for (m, stage, device), n in self._tasks.items() if m == model)
        stages = dict.fromkeys(stage for stage, _, _ in ranked)
        return tuple(tuple(device for k, _, device in ranked if k == stage) for stage in stages)

    def as_it_ran(self) -> Plan | None:
        """The plan with the devices that the scheduler chose; None where a stage ran on several.

        Nor is there one plan where several models ran.
        """
        if len(self._services) > 1:
            return None
        ((model, service),) = self._services.items()
        devices = self.devices_by_stage(model)
        if len(devices) != service.plan.num_stages or any(len(names) != 1 for names in devices):
            return None
        return replace(service.plan, devices=tuple(names[0] for names in devices))

    def metrics(self) -> dict[str, float]:
        """The metrics of the run (keys and units as in pipeline.tracking.tracking.METRICS)."""
        assert self._end is not None, "a run has at least one part"
        num_ok, num_rejected = self._all.latencies.count, self._all.num_rejected
        metrics: dict[str, float] = {
            "requests_ok": num_ok,
            "requests_failed": self._all.num_requests - num_ok - num_rejected,
            "requests_rejected": num_rejected,
            "stages": max(service.plan.num_stages for service in self._services.values()),
            "devices_used": len(self._end.reserved),
            **self._all.latency_metrics(),
        }
        for name in ("host_drift", "host_late"):
            value = getattr(self._end, name)
            if value is not None:
                metrics[name] = value
        if self._num_decisions:
            metrics["scheduling_us_per_task"] = self._scheduling_s / self._num_decisions * 1e6
        if num_ok:
            metrics["throughput_rps"] = num_ok / self._end.window_s
            metrics["transfer_bytes_per_inf"] = self._num_bytes / num_ok
            if any(service.plan.compression != COMPRESSIONS[0] for service in self._services.values()):
                metrics["transfer_bytes_saved_per_inf"] = self._bytes_saved() / num_ok
        carbon = carbon_metrics(self.ledger(), self._left_out, num_ok, self._fleet, self._accounting)
        return metrics | carbon | self._predicted()

    def ledger(self) -> pd.DataFrame:
        """The ledger of the whole run (columns: LEDGER_COLUMNS): one row a stage, device and component.

        Its request is -1; its intensity is the one that makes its energy its carbon.
        """
        rows = [
            (-1, *key, energy_j, math.nan, pue, grams)
            for key, (energy_j, grams, pue) in sorted(self._spent.items())
            if key[2] in self._known
        ]
        ledger = pd.DataFrame(rows, columns=list(LEDGER_COLUMNS))
        drawn_j = (ledger["energy_j"] * ledger["pue"]).where(lambda joules: joules > 0)
        return ledger.assign(intensity_g_per_kwh=ledger["carbon_g"] / drawn_j * J_PER_KWH)

    def _bytes_saved(self) -> int:
        """Bytes that the plans' compression kept off the links, over the whole run."""
        plain = 0
        for (model, stage), count in self._moved.items():
            service = self._services[model]
            cuts = service.problem.along(service.plan).graph.cuts
            plain += count * cuts[service.plan.bounds[stage]].num_bytes
        return plain - self._num_bytes

    def _predicted(self) -> dict[str, float]:
        """What the cost model says of the plan as it ran, with the interval of its least sure device."""
        placed = self.as_it_ran()
        if placed is None:
            return {}
        (service,) = self._services.values()
        predicted_ms = float(predict(service.problem, [placed]).latency_s[0]) * 1e3
        errors = [service.problem.profile.error.get(name) for name in placed.devices]
        known = [error for error in errors if error is not None]
        if len(known) < len(errors):
            return {"latency_ms_predicted": predicted_ms}
        return {
            "latency_ms_predicted": predicted_ms,
            "latency_ms_predicted_lo": predicted_ms * max(0.0, 1 - max(known)),
            "latency_ms_predicted_hi": predicted_ms * (1 + max(known)),
        }

    def classes(self, asked: Sequence[RequestClass]) -> pd.DataFrame:
        """One row for each model, tenant and deadline: requests, answers, latency, misses, carbon.

        `class` has the names of the classes that ask for just that, as the workload has them.

        own_carbon_g_per_inf has what was computed and moved for them; idle and embodied carbon are nobody's.
        """
        own_model, names = next(iter(self._services)), dict[tuple[str, str, float], list[str]]()
        for each in asked:
            deadline_s = math.inf if each.deadline_s is None else float(each.deadline_s)
            names.setdefault((each.model or own_model, each.tenant, deadline_s), []).append(each.name)
        rows = []
        for (model, tenant, deadline_s), of in sorted(self._classes.items()):
            num_ok = of.latencies.count
            called = ", ".join(names.get((model, tenant, deadline_s), ()))
            row: dict[str, object] = {
                "class": called,
                "model": model,
                "tenant": tenant,
                "deadline_s": deadline_s,
            }
            row |= {"requests": of.num_requests, "requests_ok": num_ok, **of.latency_metrics()}
            grams = sum(of.carbon_g[component] for component in OWN if component in self._known)
            rows.append(row | ({"own_carbon_g_per_inf": grams / num_ok} if num_ok else {}))
        return pd.DataFrame(rows)

    def labels(self, choices: Mapping[str, str]) -> dict[str, str]:
        """What people tell runs apart by. A plan without auto stages asks no scheduler: `pinned`."""

        def of_each(values: Mapping[str, str]) -> str:
            several = len(values) > 1
            return "; ".join(f"{model}: {value}" if several else value for model, value in values.items())

        cuts = {m: ", ".join(map(str, s.plan.bounds[1:-1])) or "none" for m, s in self._services.items()}
        devices = {m: " → ".join("|".join(d) for d in self.devices_by_stage(m)) for m in self._services}
        return {
            "cuts": of_each(cuts),
            "devices": of_each(devices),
            "partitioner": choices.get("partitioner", ""),
            "scheduler": choices.get("scheduler", "") if self._num_decisions else "pinned",
        }


def summed(ledger: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, device, component and link of a ledger, in order: their energy_j, carbon_g and PUE."""
    names = {name: ledger[name].astype(str) for name in ("device", "component", "link")}
    by = ledger.assign(**names).groupby(["stage", "device", "component", "link"])
    return by.agg({"energy_j": "sum", "carbon_g": "sum", "pue": "first"}).reset_index()


def carbon_metrics(
    ledger: pd.DataFrame, left_out: Collection[str], num_ok: int, fleet: Fleet, accounting: Accounting
) -> dict[str, float]:
    """The metrics that a ledger decides; left_out: components that it cannot state."""
    known = [component for component in COMPONENTS if component not in left_out]
    spent = ledger.groupby("component", observed=True)[["energy_j", "carbon_g"]].sum()
    spent = spent.reindex(known, fill_value=0.0)
    total_g = float(spent["carbon_g"].sum())
    metrics = {f"carbon_{component}_g": float(spent["carbon_g"][component]) for component in known}
    metrics["carbon_total_g"] = total_g
    if coefficients.known(fleet, accounting):
        low, high = coefficients.run_bounds(ledger, fleet, accounting)
        metrics |= {"carbon_total_g_low": low, "carbon_total_g_high": high}
    if not num_ok:
        return metrics
    for end in ("", "_low", "_high"):
        if f"carbon_total_g{end}" in metrics:
            metrics[f"carbon_g_per_inf{end}"] = metrics[f"carbon_total_g{end}"] / num_ok
    metrics["energy_j_per_inf"] = float(spent["energy_j"].sum()) / num_ok
    if "network" in known:
        metrics["network_j_per_inf"] = float(spent["energy_j"]["network"]) / num_ok
    if accounting.idle == "full" and len(known) == len(COMPONENTS):
        metrics["sci_g_per_inf"] = total_g / num_ok
    if total_g > 0:
        metrics["inferences_per_g"] = num_ok / total_g
    return metrics


def _counted(table: pd.DataFrame, *columns: str) -> dict[tuple[Any, ...], int]:
    """How many rows have each combination of values."""
    found: dict[Any, int] = table.groupby([*columns], observed=True).size().to_dict()
    return found


def top1_agreement(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Share of answers whose most likely class is the unsplit model's."""
    same = [bool(a.argmax() == b.argmax()) for a, b in zip(outputs, expected, strict=True)]
    return sum(same) / len(same)


def output_max_abs_error(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest |value - the unsplit model's| in any answer."""
    return max(float((a - b).abs().max()) for a, b in zip(outputs, expected, strict=True))


def run_name(num_stages: int, labels: Mapping[str, str]) -> str:
    """Such as `green · 2 stages · cut 41 · node-medium → node-green`."""
    count = f"{num_stages} stage{'s' if num_stages > 1 else ''}"
    cut = [f"cut {labels['cuts']}"] if num_stages > 1 else []
    return " · ".join([labels["scheduler"], count, *cut, labels["devices"]])
