"""The account of a run: from its records to ledger, boundary and carbon metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting, boundary
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account, unknown
from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records
from pipeline.results.metric_keys import base_key
from pipeline.results.metrics import carbon_metrics, summed

_CARBON_METRICS = {
    "carbon_g_per_inf", "carbon_total_g", "energy_j_per_inf", "network_j_per_inf", "sci_g_per_inf",
    "inferences_per_g", "regret_to_oracle", *(f"carbon_{each}_g" for each in COMPONENTS),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Accounted:
    """The ledger of a run's records under a fleet's coefficients, and the components that it lacks."""

    ledger: pd.DataFrame
    """Columns: LEDGER_COLUMNS."""
    left_out: Mapping[str, str]
    """Components that cannot be computed, and the missing coefficient of each (`ledger.unknown`)."""
    fleet: Fleet
    accounting: Accounting

    def metrics(self, num_ok: int) -> dict[str, float]:
        """The metrics that depend on the ledger (`carbon_metrics`); num_ok: requests answered."""
        return carbon_metrics(summed(self.ledger), self.left_out, num_ok, self.fleet, self.accounting)

    def boundary(self, grid: Mapping[str, str]) -> str:
        """The components that the figures include and leave out, in one line; grid: `Grid.about`."""
        return boundary(self.left_out, self.accounting, grid, self.fleet.without_idle_w)


class Accountant:
    """Accounts the records of one run, whole or part by part.

    intensity: that of the run; records may outlast what is known of it (`Intensity.whole`).
    """

    def __init__(self, fleet: Fleet, accounting: Accounting, intensity: Intensity) -> None:
        self._fleet, self._accounting, self._intensity = fleet, accounting, intensity

    def account(self, records: Records) -> Accounted:
        """The account of a run's records, or of a part of them."""
        ledger = account(records, self._fleet, self._intensity.whole(records.end_s), self._accounting)
        return Accounted(ledger, unknown(records, self._fleet), self._fleet, self._accounting)


def is_carbon_metric(key: str) -> bool:
    """Whether a metric, or its `_low` or `_high`, depends on the accounting.

    `regret_to_oracle` does: under another accounting, another schedule is the best in hindsight.
    """
    return base_key(key) in _CARBON_METRICS
