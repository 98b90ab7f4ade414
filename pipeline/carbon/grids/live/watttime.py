"""WattTime: marginal intensity, or the average intensity of the past. Shell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from pipeline.carbon.grids.installed_zones import G_PER_KWH_PER_LB_PER_MWH
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


@dataclass(frozen=True)
class WattTime(Live):
    """WattTime, API v3, in steps of five minutes: marginal (co2_moer), or average of the past (co2_aoer).

    Raises ConfigError naming a bad key.
    """

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
        """Whether the signal is marginal."""
        return self.signal == "co2_moer"

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The environment variables of the account's name and password."""
        return self.user_variable, self.password_variable

    @property
    def factor(self) -> str:
        """`marginal` or `average`, with the signal."""
        return f"{'marginal' if self.marginal else 'average'} ({self.signal})"

    def ask(self, client: HttpClient, zone: str, begin: datetime, end: datetime) -> Iterator[IntensityPoint]:
        """Past values from `historical`, future ones from `forecast`; both need a login first.

        Raises ConfigError for a failed login and for an answer that is not valid.
        """
        token = client.get("login", {}, auth=client.keys()).get("token")
        require(
            isinstance(token, str),
            f"grid: {self.name} returned no token; check {' and '.join(self.key_variables)}",
        )
        headers = {"Authorization": f"Bearer {token}"}
        about = {"region": zone, "signal_type": self.signal}
        now = self.now()
        requests = []
        if begin < now:
            until = min(end, now)
            times = {"start": iso_text(begin - self.step), "end": iso_text(until + self.step)}
            requests.append(("v3/historical", times, "measured"))
        if end > now:
            horizon = {"horizon_hours": str(math.ceil((end - now) / timedelta(hours=1)))}
            requests.append(("v3/forecast", horizon, "foreseen"))
        for path, more, how in requests:
            body = client.get(path, about | more, headers=headers)
            units = body.get("meta", {}).get("units") if isinstance(body, dict) else None
            require(
                units == "lbs_co2_per_mwh", f"grid: {self.name} answered in {units!r}, not lbs_co2_per_mwh"
            )
            for row in answered_rows(self.name, body, "data"):
                value = answered_intensity(self.name, row, "value", G_PER_KWH_PER_LB_PER_MWH)
                yield IntensityPoint(answered_time(self.name, row, "point_time"), value, how)
