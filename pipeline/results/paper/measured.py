"""The measurements of the paper's configurations here, as tables: one row a configuration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.trial_result import TrialResult
from pipeline.results import repetition

SHARE = "share of "
"""Prefix of the columns with each node's share of the tasks."""


@dataclass(frozen=True, eq=False)
class Repetition:
    """One repetition of a configuration, and the tables that its run kept."""

    model: str
    repeat: int
    point: Mapping[str, Any]
    """The swept keys of the config; `paper` is the configuration."""
    result: TrialResult
    records: pd.DataFrame
    """Columns: RECORD_COLUMNS."""
    ledger: pd.DataFrame
    """Columns: LEDGER_COLUMNS."""
    meter: pd.DataFrame | None
    """The host's joules by device (columns device, quota_energy_j); None without a meter."""


def measured(repetitions: Iterable[Repetition]) -> pd.DataFrame:
    """One row for each model and configuration: means over its repetitions, and their intervals.

    Columns: model, paper, metric keys, `repeats`, `share of NODE` (of the tasks), and `host_g_per_inf`, the
    carbon by the paper's accounting: the host's joules by quota, at the intensity of the node to which
    they are attributed; each figure with `_lo` and `_hi` where there are several repetitions.
    """
    table = pd.DataFrame([_row(each) for each in repetitions])
    shares = {str(column): 0.0 for column in table if str(column).startswith(SHARE)}
    return repetition.grouped(table.fillna(shares), ["model", "paper"])


def _row(each: Repetition) -> dict[str, Any]:
    result = each.result
    row: dict[str, Any] = {**each.point, "model": each.model, "repeat": each.repeat}
    row |= {**result.labels, **result.metrics}
    tasks = each.records.query("kind == 'compute'").groupby("device")["cpu_s"].count()
    row |= {f"{SHARE}{node}": count / tasks.sum() for node, count in tasks.items()}
    if each.meter is None:
        return row
    host_j = each.meter.set_index("device")["quota_energy_j"]
    g_per_kwh = each.ledger.groupby("device")["intensity_g_per_kwh"].first()
    grams = float((host_j * g_per_kwh.reindex(host_j.index)).sum()) / J_PER_KWH
    return row | {"host_g_per_inf": grams / result.metrics["requests_ok"]}


def switches(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows, at least one, sorted by scheduler and carbon weight.

    Columns: scheduler, scheduler.carbon_weight, devices (that the scheduler chose), metric keys.
    """
    return pd.DataFrame([*rows]).sort_values(["scheduler", "scheduler.carbon_weight"], kind="stable")


def by_configuration(figures: pd.DataFrame, model: str) -> dict[str, Mapping[Any, Any]]:
    """The rows of `measured` of a model, by configuration (a key of NAMES)."""
    own = figures[figures["model"] == model]
    return {str(row["paper"]): row for row in own.to_dict("records")}


def models(figures: pd.DataFrame) -> list[str]:
    """The models of `measured`, in order."""
    return list(dict.fromkeys(map(str, figures["model"])))
