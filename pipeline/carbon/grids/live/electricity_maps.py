"""Electricity Maps: flow-traced hourly average intensity. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.live.answer_fields import (
    answered_intensity,
    answered_rows,
    answered_time,
    iso_text,
)
from pipeline.carbon.grids.live.answer_store import IntensityPoint
from pipeline.carbon.grids.live.http_client import HttpClient
from pipeline.carbon.grids.live.live import Live
from pipeline.domain.checks import require

HORIZONS_H = (6, 24, 48, 72)
"""Horizons of the service's forecasts, in hours."""


@dataclass(frozen=True)
class ElectricityMaps(Live):
    """Electricity Maps, API v3: flow-traced hourly average intensity, with a forecast.

    Raises ConfigError naming a bad key.
    """

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
    def key_variables(self) -> tuple[str, ...]:
        """The variable of the key."""
        return (self.key_variable,)

    @property
    def factor(self) -> str:
        """Lifecycle or direct, average."""
        return f"{self.emission_factor}, average"

    def ask(self, client: HttpClient, zone: str, begin: datetime, end: datetime) -> Iterator[IntensityPoint]:
        """Past hours from `past-range`, the present one from `latest`, later ones from `forecast`.

        Raises ConfigError for an answer that is not valid, and for an end beyond the horizon of forecasts.
        """
        now = self.now()
        this_hour = now.replace(minute=0, second=0, microsecond=0)
        first = begin.replace(minute=0, second=0, microsecond=0)
        about = {"zone": zone, "emissionFactorType": self.emission_factor}
        (key,) = client.keys()
        headers = {"auth-token": key}
        if first < this_hour:
            last = min(end + self.step, this_hour)
            query = about | {"start": iso_text(first), "end": iso_text(last)}
            body = client.get("carbon-intensity/past-range", query, headers=headers)
            yield from (self._point(row, zone) for row in answered_rows(self.name, body, "data"))
        if end >= this_hour + self.step:
            ahead = (end - now) / self.step
            hours = next((each for each in HORIZONS_H if each >= ahead), None)
            if hours is None:
                raise NotCoveredError(
                    f"grid: {self.name} forecasts at most {HORIZONS_H[-1]} h, and the run ends later",
                    now + HORIZONS_H[-1] * self.step,
                )
            query = about | {"horizonHours": str(hours)}
            body = client.get("carbon-intensity/forecast", query, headers=headers)
            self._require_zone(body, zone)
            for row in answered_rows(self.name, body, "forecast"):
                at = answered_time(self.name, row, "datetime")
                if at >= this_hour:
                    yield IntensityPoint(
                        at, answered_intensity(self.name, row, "carbonIntensity"), "foreseen"
                    )
        if first <= this_hour <= end:  # after the forecast, to replace its value of this hour
            yield self._point(client.get("carbon-intensity/latest", about, headers=headers), zone)

    def _require_zone(self, row: Any, zone: str) -> None:
        answered = row.get("zone", zone)
        require(answered == zone, f"grid: {self.name} answered for {answered!r} instead of {zone!r}")

    def _point(self, row: Any, zone: str) -> IntensityPoint:
        self._require_zone(row, zone)
        at = answered_time(self.name, row, "datetime")
        how = "estimated" if row.get("isEstimated") else "measured"
        answered = row.get("emissionFactorType", self.emission_factor)
        require(
            answered == self.emission_factor,
            f"grid: {self.name} answered {answered} factors, not {self.emission_factor}",
        )
        return IntensityPoint(at, answered_intensity(self.name, row, "carbonIntensity"), how)
