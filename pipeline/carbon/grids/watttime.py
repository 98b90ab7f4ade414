"""WattTime: marginal intensity, or average of the past. Shell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import requests

from pipeline.carbon.grids.installed_zones import G_PER_KWH_PER_LB_PER_MWH
from pipeline.carbon.grids.live import IntensityPoint, Live, answered_rows, answered_time, iso_text
from pipeline.domain.checks import require


@dataclass(frozen=True)
class WattTime(Live):
    """WattTime, API v3, by five minutes: marginal intensity (co2_moer), or average of the past (co2_aoer)."""

    url: str = "https://api.watttime.org"
    signal: str = "co2_moer"
    user_variable: str = "WATTTIME_USERNAME"
    password_variable: str = "WATTTIME_PASSWORD"

    name: ClassVar = "watttime"
    step: ClassVar = timedelta(minutes=5)
    span: ClassVar = timedelta(days=30)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.signal in ("co2_moer", "co2_aoer"),
            f"grid.signal: must be co2_moer or co2_aoer, in lb/MWh ({self.signal!r})",
        )

    @property
    def marginal(self) -> bool:
        """Whether it is the marginal signal."""
        return self.signal == "co2_moer"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Name and password of an account."""
        return self.user_variable, self.password_variable

    @property
    def factor(self) -> str:
        """The signal."""
        return f"{'marginal' if self.marginal else 'average'} ({self.signal})"

    def ask(
        self, session: requests.Session, zone: str, begin: datetime, end: datetime
    ) -> Iterator[IntensityPoint]:
        """What is past by `historical`, what is to come by `forecast`; both need a login first."""
        token = self._get(session, "login", {}, auth=self._secrets()).get("token")
        require(isinstance(token, str), f"grid: {self.name} gave no token; {self._key_hint()}")
        headers = {"Authorization": f"Bearer {token}"}
        about = {"region": zone, "signal_type": self.signal}
        now = self.now()
        asked = []
        if begin < now:
            until = min(end, now)
            times = {"start": iso_text(begin - self.step), "end": iso_text(until + self.step)}
            asked.append(("v3/historical", times, "measured"))
        if end > now:
            horizon = {"horizon_hours": str(math.ceil((end - now) / timedelta(hours=1)))}
            asked.append(("v3/forecast", horizon, "foreseen"))
        for path, more, how in asked:
            body = self._get(session, path, about | more, headers=headers)
            units = body.get("meta", {}).get("units") if isinstance(body, dict) else None
            require(
                units == "lbs_co2_per_mwh", f"grid: {self.name} answered in {units!r}, not lbs_co2_per_mwh"
            )
            for row in answered_rows(body, "data", self.name):
                value = self._value(row, "value", G_PER_KWH_PER_LB_PER_MWH)
                yield IntensityPoint(answered_time(row, "point_time", self.name), value, how)
