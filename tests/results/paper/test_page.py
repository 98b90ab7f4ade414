"""The paper's page from figures that are easy to work with by hand; all of PAPER's rows are on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
import pytest

from pipeline.commands.paper import NAMES, assembled, measured, switches, table_split
from pipeline.domain.fleet import Fleet
from pipeline.domain.trial_result import TrialResult
from pipeline.planning.exact_front import exact_front
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.stored import Stored
from tests.conftest import MakeProblem

NODES = {"monolithic": "medium", "ce_green": "green", "ce_balanced": "green"}
INTENSITY = {"high": 620.0, "medium": 530.0, "green": 380.0}


class Kept:
    """A run whose tasks all ran on one node; its host took 7.2 J, all of it that node's."""

    def __init__(self, node: str) -> None:
        self.node, self.tags = node, {"model": "mobilenet_v2"}

    def has(self, path: str) -> bool:
        return path == "meter.json"

    def table(self, path: str) -> pd.DataFrame:
        two = {"kind": ["compute"] * 2, "device": [self.node] * 2, "cpu_s": 1.0}
        return {
            "records.json": pd.DataFrame(two),
            "meter.json": pd.DataFrame({"device": [self.node], "quota_energy_j": [7.2]}),
            "ledger.json": pd.DataFrame(
                {"device": [self.node], "intensity_g_per_kwh": [INTENSITY[self.node]]}
            ),
        }[path]


def trial(number: int, configuration: str, latency_ms: float, energy_j: float) -> SweepTrial:
    """Two repetitions, a tenth of a ms apart."""
    node = NODES.get(configuration, "high")
    carbon_g = energy_j * INTENSITY[node] / 3.6e6
    results = tuple(
        TrialResult(
            f"{configuration} {repeat}", "trial",
            {
                "latency_ms_mean": latency_ms + 0.1 * repeat, "throughput_rps": 4.0,
                "carbon_g_per_inf": carbon_g, "inferences_per_g": 1 / carbon_g, "energy_j_per_inf": energy_j,
                "requests_ok": 2.0, "host_j_per_inf": 3.6,
            } | ({} if configuration == "monolithic" else {"scheduling_us_per_task": 20.0}),
            {"cuts": "none", "devices": f"node-{node}"},
        )
        for repeat in range(2)
    )  # fmt: skip
    return SweepTrial(number, {"model": "mobilenet_v2", "paper": configuration}, results)


TRIALS = [trial(n, key, 200 + 10 * n, 36 - n) for n, key in enumerate(NAMES)]
STORED = cast(
    "Mapping[str, Stored]",
    {f"{key} {repeat}": Kept(NODES.get(key, "high")) for key in NAMES for repeat in range(2)},
)


def weights() -> pd.DataFrame:
    """The paper's scores turn from high to green at .6; scaled ones go by medium, at .3."""
    trials: list[SweepTrial] = []
    for scheduler, turns in (("green", {0.6: "green"}), ("normalized", {0.3: "medium", 0.7: "green"})):
        for step in range(11):
            node = [n for at, n in {0.0: "high", **turns}.items() if at <= step / 10][-1]
            point: dict[str, Any] = {"scheduler": scheduler, "scheduler.carbon_weight": step / 10}
            metrics = {"carbon_g_per_inf": INTENSITY[node] / 1e5}
            result = TrialResult("run", "trial", metrics, {"devices": f"node-{node}"})
            trials.append(SweepTrial(len(trials), point, (result,)))
    return switches(trials)


def test_carbon_by_the_papers_accounting_is_the_hosts_at_the_nodes_intensity() -> None:
    """7.2 J at 380 g/kWh are .76 mg, for two inferences."""
    figures = measured(TRIALS, STORED).set_index("paper")
    assert figures["host_g_per_inf"]["ce_green"] == pytest.approx(7.2 * 380 / 3.6e6 / 2)
    assert figures["share of green"]["ce_green"] == 1
    assert figures["latency_ms_mean"]["monolithic"] == pytest.approx(200.05)
    assert figures["latency_ms_mean_lo"]["monolithic"] == pytest.approx(200)


def test_the_page_has_every_row_of_the_paper_beside_what_was_measured(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    problem = make_problem(two_devices)
    figures = measured(TRIALS, STORED)
    page = assembled(figures, weights(), {"mobilenet_v2": (problem, exact_front(problem))}, ["How."])
    text, shown = page.markdown(), page.html()
    published = {
        "Monolithic": ("254.8", "5.300", "189.5"), "AMP4EC": ("277.2", "5.600"),
        "CE-Green": ("272.0", "4.100", "245.8"),
        "CE-Performance": ("271.4", "6.700", "149.6"), "CE-Balanced": ("271.1", "6.600"),
    }  # fmt: skip
    for name, values in published.items():
        [row, *_] = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        for value in values:
            assert f" {value} " in row, (row, value)
    assert "| mobilenet_v2 | 200.1 (200.0–200.1) → 240.1 (240.0–240.1) | 254.8 → 272.0 |" in text
    assert "-22.9%" in text  # Table IV
    assert "| mobilenet_v2 | CE-Performance | 0% | 100% | 0% | node-high 100% |" in text
    assert "| the paper's S_C (weighted) | 0.6 | 0.5 | 2 | node-high, node-green |" in text
    assert "| normalized | 0.7 | – | 3 | node-high, node-medium, node-green |" in text
    assert "| mobilenet_v2 | CE-Green | 0.02000 (0.02000–0.02000) | 0.03 |" in text
    assert "CE-Balanced goes to node-green and not to node-high" in text
    assert "turn to node-green at w_C = 0.6 here, not at 0.5" in text
    for name in ("Fig. 2, mobilenet_v2", "Fig. 3", "the exact front over split placements"):
        assert name in shown
    assert "<script src=" not in shown


def test_what_a_split_saves_is_told_apart() -> None:
    """36 J at 530 become 31 J at 620 g/kWh: the effects add up to the change."""
    [row] = table_split(measured(TRIALS, STORED)).rows
    change, *effects = (float(cell.rstrip("%")) for cell in row[3:])
    assert change == pytest.approx((31 * 620 / (36 * 530) - 1) * 100, abs=0.05)
    assert sum(effects) == pytest.approx(change, abs=0.2)
    assert effects[0] < 0 < effects[1]
