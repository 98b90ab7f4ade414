"""Configurations of the paper, whose figures are easy to work with by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.trial_result import TrialResult
from pipeline.results.paper.configurations import NAMES
from pipeline.results.paper.measured import Repetition, switches

NODES = {"monolithic": "medium", "ce_green": "green", "ce_balanced": "green"}
INTENSITY = {"high": 620.0, "medium": 530.0, "green": 380.0}


def result(configuration: str, repeat: int, latency_ms: float, energy_j: float) -> TrialResult:
    """Repetitions lie a tenth of a ms apart; the device's name stands for the node's."""
    node = NODES.get(configuration, "high")
    carbon_g = energy_j * INTENSITY[node] / J_PER_KWH
    metrics = {
        "latency_ms_mean": latency_ms + 0.1 * repeat, "throughput_rps": 4.0, "carbon_g_per_inf": carbon_g,
        "inferences_per_g": 1 / carbon_g, "energy_j_per_inf": energy_j, "requests_ok": 2.0,
        "host_j_per_inf": 3.6,
    }  # fmt: skip
    if configuration != "monolithic":
        metrics["scheduling_us_per_task"] = 20.0
    labels = {"cuts": "none", "devices": f"node-{node}"}
    return TrialResult(f"{configuration} {repeat}", "trial", metrics, labels)


def tables(configuration: str) -> dict[str, pd.DataFrame]:
    """By file: a run whose tasks all ran on one node; its host took 7.2 J, all of it that node's."""
    node = NODES.get(configuration, "high")
    return {
        "records.json": pd.DataFrame({"kind": ["compute"] * 2, "device": [node] * 2, "cpu_s": 1.0}),
        "ledger.json": pd.DataFrame({"device": [node], "intensity_g_per_kwh": [INTENSITY[node]]}),
        "meter.json": pd.DataFrame({"device": [node], "quota_energy_j": [7.2]}),
    }


REPETITIONS = [
    Repetition(
        "mobilenet_v2", repeat, {"model": "mobilenet_v2", "paper": key},
        result(key, repeat, 200 + 10 * n, 36 - n), *tables(key).values(),
    )
    for n, key in enumerate(NAMES)
    for repeat in range(2)
]  # fmt: skip


def weights() -> pd.DataFrame:
    """The paper's scores turn from high to green at .6; scaled ones go by medium, at .3."""
    rows: list[dict[str, Any]] = []
    for scheduler, turns in (("green", {0.6: "green"}), ("normalized", {0.3: "medium", 0.7: "green"})):
        for step in range(11):
            node = [n for at, n in {0.0: "high", **turns}.items() if at <= step / 10][-1]
            row = {"scheduler": scheduler, "scheduler.carbon_weight": step / 10, "devices": f"node-{node}"}
            rows.append(row | {"carbon_g_per_inf": INTENSITY[node] / 1e5})
    return switches(rows)
