"""Electricity Maps: flow-traced average intensity by the hour. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import requests

from pipeline.carbon.grids.live import IntensityPoint, Live, answered_rows, answered_time, iso_text
from pipeline.domain.checks import require

HORIZONS_H = (6, 24, 48, 72)
"""Of Electricity Maps' forecasts."""


@dataclass(frozen=True)
class ElectricityMaps(Live):
    """Electricity Maps, API v3: flow-traced average intensity by the hour, with a forecast."""

    url: str = "https://api.electricitymaps.com/v3"
    emission_factor: str = "lifecycle"
    """lifecycle or direct."""
    key_variable: str = "ELECTRICITYMAPS_API_KEY"
    """The environment variable that holds the key."""

    name: ClassVar = "electricitymaps"
    step: ClassVar = timedelta(hours=1)
    span: ClassVar = timedelta(days=10)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.emission_factor in ("lifecycle", "direct"),
            f"grid.emission_factor: must be lifecycle or direct ({self.emission_factor!r})",
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key."""
        return (self.key_variable,)

    @property
    def factor(self) -> str:
        """Lifecycle or direct."""
        return f"{self.emission_factor}, average"

    def ask(
        self, session: requests.Session, zone: str, begin: datetime, end: datetime
    ) -> Iterator[IntensityPoint]:
        """Hours that are over by `past-range`, later ones by `forecast`, the present one by `latest`."""
        now = self.now()
        this_hour = now.replace(minute=0, second=0, microsecond=0)
        first = begin.replace(minute=0, second=0, microsecond=0)
        about = {"zone": zone, "emissionFactorType": self.emission_factor}
        (key,) = self._secrets()
        headers = {"auth-token": key}
        if first < this_hour:
            last = min(end + self.step, this_hour)
            asked = about | {"start": iso_text(first), "end": iso_text(last)}
            body = self._get(session, "carbon-intensity/past-range", asked, headers=headers)
            yield from (self._point(row, zone) for row in answered_rows(body, "data", self.name))
        if end >= this_hour + self.step:
            ahead = (end - now) / self.step
            hours = next((each for each in HORIZONS_H if each >= ahead), None)
            require(
                hours is not None, f"grid: {self.name} foresees {HORIZONS_H[-1]} h, and the run is longer"
            )
            asked = about | {"horizonHours": str(hours)}
            body = self._get(session, "carbon-intensity/forecast", asked, headers=headers)
            self._require_zone(body, zone)
            for row in answered_rows(body, "forecast", self.name):
                at = answered_time(row, "datetime", self.name)
                if at >= this_hour:
                    yield IntensityPoint(at, self._value(row, "carbonIntensity"), "foreseen")
        if first <= this_hour <= end:  # after the forecast, whose value for this hour it replaces
            yield self._point(self._get(session, "carbon-intensity/latest", about, headers=headers), zone)

    def _require_zone(self, row: Any, zone: str) -> None:
        told = row.get("zone", zone)
        require(told == zone, f"grid: {self.name} answered for {told!r}, and was asked for {zone!r}")

    def _point(self, row: Any, zone: str) -> IntensityPoint:
        self._require_zone(row, zone)
        at = answered_time(row, "datetime", self.name)
        how = "estimated" if row.get("isEstimated") else "measured"
        told = row.get("emissionFactorType", self.emission_factor)
        asked = self.emission_factor
        require(told == asked, f"grid: {self.name} answered {told} factors, not {asked}")
        return IntensityPoint(at, self._value(row, "carbonIntensity"), how)
