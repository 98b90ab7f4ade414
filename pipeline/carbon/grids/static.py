"""A grid whose zones have one intensity at all times."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.carbon.grids.installed_zones import INSTALLED, installed_zones
from pipeline.domain.checks import ConfigError, require_number


@dataclass(frozen=True)
class Static:
    """The same intensity at all times: `zones` by config, else the installed annual average."""

    zones: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for zone, value in self.zones.items():
            require_number("grid.zones", zone, value, least=0)

    def about(self) -> dict[str, str]:
        """Where the averages come from."""
        own = f"; by config: {', '.join(sorted(self.zones))}" if self.zones else ""
        return {"source": INSTALLED + own, "factor": "annual average"}

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """One step, average, location-based. Raises ConfigError for a zone that no table has."""
        value = self.zones.get(zone, installed_zones().get(zone))
        if value is None:
            close = difflib.get_close_matches(zone, installed_zones(), n=3)
            hint = (
                f"did you mean {', '.join(close)}?" if close else "for example DE, FRA, US-CA, SE3 or WORLD"
            )
            raise ConfigError(f"zone: unknown zone {zone!r} ({hint}; or give it under grid.zones)")
        return [(begin, float(value))]
