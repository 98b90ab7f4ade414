"""Records -> ledger, unknown components, boundary and carbon metrics: how a run is accounted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting, boundary
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account, unknown
from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records
from pipeline.results.metrics import carbon_metrics, summed

_CARBON_METRICS = {
    "carbon_g_per_inf", "carbon_total_g", "energy_j_per_inf", "network_j_per_inf", "sci_g_per_inf",
    "inferences_per_g", "regret_to_oracle", *(f"carbon_{each}_g" for each in COMPONENTS),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Accounted:
    """The ledger of a run's records under a fleet's coefficients, and what it cannot state."""

    ledger: pd.DataFrame
    """Columns: LEDGER_COLUMNS."""
    left_out: Mapping[str, str]
    """Components that the ledger cannot state, and which figure is missing (`ledger.unknown`)."""
    fleet: Fleet
    accounting: Accounting

    def metrics(self, num_ok: int) -> dict[str, float]:
        """The metrics that the ledger decides; num_ok: requests answered."""
        return carbon_metrics(summed(self.ledger), self.left_out, num_ok, self.fleet, self.accounting)

    def boundary(self, grid: Mapping[str, str]) -> str:
        """What the figures contain and leave out, in one line; grid: `Grid.about`."""
        return boundary(self.left_out, self.accounting, grid)


def accounted(records: Records, fleet: Fleet, intensity: Intensity, accounting: Accounting) -> Accounted:
    """Account a run's records, or a part of them, under these coefficients.

    intensity: of the fleet's devices, from the run's start to the last record's end.
    """
    ledger = account(records, fleet, intensity, accounting)
    return Accounted(ledger, unknown(records, fleet), fleet, accounting)


def is_carbon_metric(key: str) -> bool:
    """Whether accounting decides a metric, its `_low` or its `_high`.

    `regret_to_oracle` is one: another accounting makes another schedule the best in hindsight.
    """
    return key.removesuffix("_low").removesuffix("_high") in _CARBON_METRICS
