"""A grid with a synthetic day and year around each zone's average. Shell: reads files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from pipeline.carbon.grids.static import Static
from pipeline.domain.checks import require, require_mapping, require_number

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Synthetic:
    """A synthetic day and year around the zone's average: for experiments, not for reporting.

    In each hour, intensity = average × (1 + day(local hour) + year(day)), where
    day(h) = evening_swing · cos(2π(h - 19)/24) - midday_dip · (dip(h) - mean of dip over a day),
    dip(h) = exp(-((h - 13)/2.5)²/2),
    year(d) = seasonal_swing · cos(2π(d - 15)/365.25), d days from 1 January.
    The shape is an assumption: highest on winter evenings, when gas serves the peak, lowest at noon, when
    there is sun. Its mean over a year is the average. Zones differ only in their average and their clock.
    Raises ConfigError naming a bad key.
    """

    evening_swing: float = 0.15
    midday_dip: float = 0.3
    seasonal_swing: float = 0.1
    utc_offset_h: Mapping[str, float] = field(default_factory=dict)
    """Hours by which a zone's clocks are ahead of UTC; 0 for other zones."""
    zones: Mapping[str, float] = field(default_factory=dict)
    """Averages in gCO2e/kWh by zone, instead of the installed ones."""

    def __post_init__(self) -> None:
        for name in ("evening_swing", "midday_dip", "seasonal_swing"):
            require_number("grid", name, getattr(self, name), least=0)
        total = self.evening_swing + self.midday_dip + self.seasonal_swing
        require(total < 1, f"grid: evening_swing + midday_dip + seasonal_swing must be below 1 ({total:g})")
        require_mapping("grid.utc_offset_h", self.utc_offset_h, "zones to hours")
        for zone, hours in self.utc_offset_h.items():
            require_number("grid.utc_offset_h", zone, hours, least=-12, most=14)
        Static(self.zones)

    def about(self) -> dict[str, str]:
        """The sources of the averages, and a factor that marks the hours as synthetic."""
        return Static(self.zones).about() | {"factor": "annual average with synthetic hours and seasons"}

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """One step an hour, from a full hour in UTC. Raises ConfigError for a zone that no table contains."""
        [(_, average)] = Static(self.zones).steps(zone, begin, end)
        first = begin.replace(minute=0, second=0, microsecond=0)
        hours = int((end - first) / timedelta(hours=1)) + 1
        local = [first + timedelta(hours=k + self.utc_offset_h.get(zone, 0.0)) for k in range(hours)]
        of_year = [at - at.replace(month=1, day=1, hour=0, minute=0) for at in local]
        day = np.array([span / timedelta(days=1) for span in of_year])
        shape = self._day((day % 1) * 24) + self.seasonal_swing * np.cos(2 * np.pi * (day - 15) / 365.25)
        return [(first + timedelta(hours=k), average * float(1 + shape[k])) for k in range(hours)]

    def _day(self, hour: Floats) -> Floats:
        every = np.arange(24.0)
        dip = np.exp(-(((hour - 13) / 2.5) ** 2) / 2) - np.exp(-(((every - 13) / 2.5) ** 2) / 2).mean()
        evening = self.evening_swing * np.cos(2 * np.pi * (hour - 19) / 24)
        return np.asarray(evening - self.midday_dip * dip)
