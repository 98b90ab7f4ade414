"""Britain's Carbon Intensity API. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pipeline.carbon.grids.live.answer_fields import answered_intensity, answered_rows, answered_time
from pipeline.carbon.grids.live.answer_store import IntensityPoint
from pipeline.carbon.grids.live.http_client import HttpClient
from pipeline.carbon.grids.live.live import Live
from pipeline.domain.checks import require


@dataclass(frozen=True)
class UK(Live):
    """Britain's Carbon Intensity API v2: national, half-hourly, operational; no key. Zone GB only."""

    url: str = "https://api.carbonintensity.org.uk"

    name: ClassVar = "uk"
    step: ClassVar = timedelta(minutes=30)
    span: ClassVar = timedelta(days=13)

    @property
    def factor(self) -> str:
        """Direct emissions of operation, average."""
        return "direct (operational), average"

    def ask(self, client: HttpClient, zone: str, begin: datetime, end: datetime) -> Iterator[IntensityPoint]:
        """The values by half-hour: measured where available, else forecast.

        Raises ConfigError for another zone than GB, and for an answer that is not valid.
        """
        require(zone in ("GB", "GBR"), f"zone: the UK's service covers GB only ({zone!r})")
        # The service also selects half-hours by their end: request one more on either side.
        first, last = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (begin - self.step, end + self.step))
        body = client.get(f"intensity/{first}/{last}", {})
        for row in answered_rows(self.name, body, "data"):
            values: Any = row.get("intensity") if isinstance(row, dict) else None
            require(isinstance(values, dict), f"grid: {self.name} answered a row without intensity ({row!r})")
            known = values.get("actual") is not None
            value = answered_intensity(self.name, values, "actual" if known else "forecast")
            at = answered_time(self.name, row, "from")
            yield IntensityPoint(at, value, "measured" if known else "foreseen")
