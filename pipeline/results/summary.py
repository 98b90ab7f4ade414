"""The metrics, classes and labels of a run, from its records and ledger, added up part by part. Pure.

A metric that a run cannot determine is left out, never logged as 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting, boundary
from pipeline.carbon.ledger import LEDGER_COLUMNS, unknown
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.plan import COMPRESSIONS, Plan
from pipeline.domain.records import Records, by_request
from pipeline.domain.requests import RequestClass
from pipeline.execution.job import Service
from pipeline.planning.cost import predict
from pipeline.results.latencies import REQUEST_COMPONENTS, ClassTotals
from pipeline.results.metric_keys import interval_keys
from pipeline.results.metrics import carbon_metrics, summed

PINNED = "pinned"
"""The scheduler of a run in which none made a decision."""
NO_DECISIONS = (
    "no stage of the plan is `auto`, so none decided; partitioner.device=auto leaves the devices to it"
)


class Summary:
    """The totals from which a run's metrics follow; its memory does not grow with the number of requests."""

    def __init__(
        self, services: Sequence[Service], accounting: Accounting | None = None, *, alone: bool = False
    ) -> None:
        self._accounting = accounting or Accounting()
        self._alone = alone
        """Whether requests come one at a time: in a queue one latency depends on the one before."""
        self._services = {service.problem.graph.name: service for service in services}
        self._fleet = services[0].problem.fleet
        self._all = ClassTotals()
        self._classes: dict[tuple[str, str, float], ClassTotals] = {}
        self._left_out: dict[str, str] = {}
        """Components of carbon that cannot be computed, and why."""
        self._spent: dict[tuple[int, str, str, str], tuple[float, float, float]] = {}
        """energy_j, carbon_g and PUE, by stage, device, component and link."""
        self._tasks: Counter[tuple[Any, ...]] = Counter()
        """Number of computations, by model, stage and device."""
        self._moved: Counter[tuple[Any, ...]] = Counter()
        """Number of transfers, by model and receiving stage."""
        self._num_bytes = 0
        self._num_decisions = 0
        self._scheduling_s = 0.0
        self._end: Records | None = None
        self.reasons: set[str] = set()
        """Why requests failed."""

    @classmethod
    def of(cls, services: Sequence[Service], records: Records, ledger: pd.DataFrame) -> Summary:
        """The summary of a whole run, from its records and their ledger (columns: LEDGER_COLUMNS)."""
        summary = cls(services)
        summary.add(records, ledger)
        return summary

    def add(self, records: Records, ledger: pd.DataFrame) -> None:
        """Add a part of the run's records, with all rows of each of its requests, and their ledger.

        The last part has the run's window and reserved devices. ledger: columns LEDGER_COLUMNS.
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
        self._add_requests(records, ledger)
        table = records.table
        compute, moved = (table[table["kind"] == kind] for kind in ("compute", "transfer"))
        self._tasks.update(_counted(compute, "model", "stage", "device"))
        self._moved.update(_counted(moved, "model", "stage"))
        self._num_bytes += int(moved["bytes"].sum())
        self.reasons |= set(table.loc[table["status"] == "failed", "reason"].astype(str).unique())

    def _add_requests(self, records: Records, ledger: pd.DataFrame) -> None:
        requests = by_request(records)
        for component in REQUEST_COMPONENTS:
            grams = ledger[ledger["component"] == component].groupby("request")["carbon_g"].sum()
            requests[component] = grams.reindex(requests.index, fill_value=0.0)
        self._all.add(requests)
        keys = requests[["model", "tenant", "deadline_s"]].drop_duplicates()
        for model, tenant, deadline_s in keys.itertuples(index=False):
            rows = requests[
                (requests["model"] == model)
                & (requests["tenant"] == tenant)
                & (requests["deadline_s"] == deadline_s)
            ]
            key = (str(model), str(tenant), float(deadline_s))
            self._classes.setdefault(key, ClassTotals()).add(rows)

    @property
    def _known(self) -> list[str]:
        return [component for component in COMPONENTS if component not in self._left_out]

    def boundary(self, grid: Mapping[str, str]) -> str:
        """The components that the run's carbon includes and leaves out, in one line; grid: `Grid.about`."""
        return boundary(self._left_out, self._accounting, grid, self._fleet.without_idle_w)

    def devices_by_stage(self, model: str) -> tuple[tuple[str, ...], ...]:
        """The devices that ran each stage of a model, the most used first (ties by name)."""
        ranked = sorted((stage, -n, device) for (m, stage, device), n in self._tasks.items() if m == model)
        stages = dict.fromkeys(stage for stage, _, _ in ranked)
        return tuple(tuple(device for k, _, device in ranked if k == stage) for stage in stages)

    def as_it_ran(self) -> Plan | None:
        """The plan with the devices that the scheduler chose.

        None where a stage ran on several devices, or where several models ran.
        """
        if len(self._services) > 1:
            return None
        ((model, service),) = self._services.items()
        devices = self.devices_by_stage(model)
        if len(devices) != service.plan.num_stages or any(len(names) != 1 for names in devices):
            return None
        return replace(service.plan, devices=tuple(names[0] for names in devices))

    def metrics(self) -> dict[str, float]:
        """The metrics of the run (keys and units: `metric_keys.METRICS`)."""
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
        if self._end.host_drift is not None:
            metrics["host_drift"] = self._end.host_drift
        if self._num_decisions:
            metrics["scheduling_us_per_task"] = self._scheduling_s / self._num_decisions * 1e6
        if num_ok:
            metrics |= self._all.latency_intervals() if self._alone else {}
            metrics["throughput_rps"] = num_ok / self._end.window_s
            metrics["transfer_bytes_per_inf"] = self._num_bytes / num_ok
            if any(service.plan.compression != COMPRESSIONS[0] for service in self._services.values()):
                metrics["transfer_bytes_saved_per_inf"] = self._bytes_saved() / num_ok
        carbon = carbon_metrics(self.ledger(), self._left_out, num_ok, self._fleet, self._accounting)
        return metrics | carbon | self._predicted()

    def ledger(self) -> pd.DataFrame:
        """The ledger of the whole run (columns: LEDGER_COLUMNS): one row a stage, device, component and link.

        `request` is -1; `intensity_g_per_kwh` is the carbon ÷ the energy drawn, PUE included.
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
        """Bytes that compression kept off the links, over the whole run."""
        plain = 0
        for (model, stage), count in self._moved.items():
            service = self._services[model]
            cuts = service.problem.along(service.plan).graph.cuts
            plain += count * cuts[service.plan.bounds[stage]].num_bytes
        return plain - self._num_bytes

    def _predicted(self) -> dict[str, float]:
        """The latency that the cost model predicts for the plan as it ran.

        Its interval is ± the largest of the devices' profile errors; it is left out where one is unknown.
        """
        placed = self.as_it_ran()
        if placed is None:
            return {}
        (service,) = self._services.values()
        predicted_ms = float(predict(service.problem, [placed]).latency_s[0]) * 1e3
        metrics = {"latency_ms_predicted": predicted_ms}
        error = service.problem.profile.prediction_error(placed.devices)
        if error is not None:
            low, high = interval_keys("latency_ms_predicted")
            metrics[low], metrics[high] = predicted_ms * max(0.0, 1 - error), predicted_ms * (1 + error)
        return metrics

    def classes(self, asked: Sequence[RequestClass]) -> pd.DataFrame:
        """One row for each model, tenant and deadline.

        Columns: `class` (names of the classes in `asked` that have these), `model`, `tenant`, `deadline_s`
        (infinity: none), `requests`, `requests_ok`, the metrics of latency, `slo_miss_rate`, and
        `own_carbon_g_per_inf`: the carbon of the requests' own computing and transfers, since idle and
        embodied carbon belong to no class.
        """
        own_model, names = next(iter(self._services)), dict[tuple[str, str, float], list[str]]()
        for each in asked:
            deadline_s = math.inf if each.deadline_s is None else float(each.deadline_s)
            names.setdefault((each.model or own_model, each.tenant, deadline_s), []).append(each.name)
        rows = []
        for (model, tenant, deadline_s), totals in sorted(self._classes.items()):
            num_ok = totals.latencies.count
            row: dict[str, object] = {
                "class": ", ".join(names.get((model, tenant, deadline_s), ())),
                "model": model,
                "tenant": tenant,
                "deadline_s": deadline_s,
                "requests": totals.num_requests,
                "requests_ok": num_ok,
                **totals.latency_metrics(),
            }
            if num_ok:
                grams = sum(totals.carbon_g[each] for each in REQUEST_COMPONENTS if each in self._known)
                row["own_carbon_g_per_inf"] = grams / num_ok
            rows.append(row)
        return pd.DataFrame(rows)

    def labels(self, choices: Mapping[str, str]) -> dict[str, str]:
        """The run's cuts, devices, partitioner and scheduler, as text.

        choices: the config's choice of each group. The scheduler is `pinned` where none made a decision,
        since no stage of the plan is `auto`.
        """

        def of_each(values: Mapping[str, str]) -> str:
            several = len(values) > 1
            return "; ".join(f"{model}: {value}" if several else value for model, value in values.items())

        cuts = {m: ", ".join(map(str, s.plan.bounds[1:-1])) or "none" for m, s in self._services.items()}
        devices = {m: " → ".join("|".join(d) for d in self.devices_by_stage(m)) for m in self._services}
        return {
            "cuts": of_each(cuts),
            "devices": of_each(devices),
            "partitioner": choices.get("partitioner", ""),
            "scheduler": choices.get("scheduler", "") if self._num_decisions else PINNED,
        }


def _counted(table: pd.DataFrame, *columns: str) -> dict[tuple[Any, ...], int]:
    """How many rows have each combination of values."""
    found: dict[Any, int] = table.groupby([*columns], observed=True).size().to_dict()
    return found
