"""One side of a comparison: a run, or a published figure. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pandas as pd

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.carbon.decomposition import Footprint
from pipeline.domain.checks import require
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.fleet import Fleet


@dataclass(frozen=True)
class Side:
    """One of two runs, or a published figure."""

    name: str
    footprint: Footprint
    latency_ms: float = math.nan
    """Mean latency."""
    components: tuple[str, ...] | None = None
    """Components that its carbon contains; None: the publication does not state them."""
    fleet: Fleet | None = None
    accounting: Accounting | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    """Model, fleet, measurement and workload of the run, as far as they are known."""
    parts: pd.DataFrame | None = None
    """Grams per inference: one row a device, columns as `coefficients.parts` returns them."""
    reserved: tuple[str, ...] = ()
    """Devices whose idle power or manufacture counts."""

    @classmethod
    def of_run(
        cls,
        name: str,
        metrics: Mapping[str, float],
        ledger: pd.DataFrame,
        fleet: Fleet,
        accounting: Accounting,
        about: Mapping[str, str],
    ) -> Self:
        """The side of a run that answered requests; ledger: columns LEDGER_COLUMNS."""
        of_devices = ledger["component"].isin(["idle", "embodied"]) & (ledger["carbon_g"] > 0)
        drawn_j = float(ledger.loc[ledger["component"].isin(["dynamic", "idle"]), "energy_j"].sum())
        held = set(ledger.loc[of_devices, "device"].astype(str))
        return cls(
            name,
            replace(Footprint.of(metrics), energy_j=drawn_j / metrics["requests_ok"]),
            metrics["latency_ms_mean"],
            tuple(c for c in COMPONENTS if f"carbon_{c}_g" in metrics),
            fleet,
            accounting,
            about,
            coefficients.parts(ledger, fleet) / metrics["requests_ok"],
            tuple(name for name in fleet.by_name if name in held),
        )

    @classmethod
    def of_published(cls, name: str, row: Mapping[str, Any]) -> Self:
        """The side of a published figure; row: as `published` returns it."""
        return cls(name, Footprint(row["energy_j_per_inf"], row["carbon_g_per_inf"]), row["latency_ms_mean"])

    def holds(self, component: str) -> bool:
        """Whether its carbon is known to contain a component."""
        return self.components is not None and component in self.components

    @property
    def g_per_kwh(self) -> float:
        """Carbon ÷ energy of its devices, PUE included."""
        f = self.footprint
        return f.operational_g / f.energy_j * J_PER_KWH if f.energy_j else math.nan


def require_one_boundary(a: Side, b: Side) -> None:
    """Raise ConfigError where two runs count different components, devices or idle power."""
    if a.components is None or b.components is None or a.accounting is None or b.accounting is None:
        return
    differ = set(a.components) ^ set(b.components)
    require(
        not differ,
        f"boundary: only one of {a.name!r} and {b.name!r} counts {' and '.join(sorted(differ))}; give both "
        "fleets the same figures, or use carbonedge reaccount",
    )
    for rule in ("idle", "reserved"):
        one, other = getattr(a.accounting, rule), getattr(b.accounting, rule)
        require(
            one == other,
            f"accounting.{rule}: {a.name!r} counts {one} and {b.name!r} {other}; first use "
            "carbonedge reaccount to account one of them by the other's rule",
        )
