"""A grid whose zones have the same intensity at all times. Shell: reads files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.carbon.grid import MAX_G_PER_KWH
from pipeline.carbon.grids.installed_zones import INSTALLED, installed_g_per_kwh
from pipeline.domain.checks import require_mapping, require_number


@dataclass(frozen=True)
class Static:
    """The same intensity at all times: that of `zones`, else the installed annual average.

    Raises ConfigError for an intensity that is not a number >= 0.
    """

    zones: Mapping[str, float] = field(default_factory=dict)
    """gCO2e/kWh by zone."""

    def __post_init__(self) -> None:
        require_mapping("grid.zones", self.zones, "zones to g/kWh")
        for zone, value in self.zones.items():
            require_number("grid.zones", zone, value, least=0, most=MAX_G_PER_KWH)

    def about(self) -> dict[str, str]:
        """The sources of the averages."""
        own = f"; by config: {', '.join(sorted(self.zones))}" if self.zones else ""
        return {"source": INSTALLED + own, "factor": "annual average"}

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """One step, average, location-based. Raises ConfigError for a zone that no table contains."""
        if zone in self.zones:
            return [(begin, float(self.zones[zone]))]
        return [
            (begin, installed_g_per_kwh("zone", zone, f"; or give its average, as by +grid.zones.{zone}=300"))
        ]
