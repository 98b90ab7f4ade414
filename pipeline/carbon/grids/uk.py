"""Britain's Carbon Intensity API. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import requests

from pipeline.carbon.grids.live import IntensityPoint, Live, answered_rows, answered_time
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
        """Operational: no life cycle."""
        return "direct (operational), average"

    def ask(
        self, session: requests.Session, zone: str, begin: datetime, end: datetime
    ) -> Iterator[IntensityPoint]:
        """Half-hours: what was measured, else what was foreseen."""
        require(zone in ("GB", "GBR"), f"zone: the UK's service knows GB only ({zone!r})")
        # A half-hour is told by when it ends, too: ask for one more to either side.
        first, last = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (begin - self.step, end + self.step))
        body = self._get(session, f"intensity/{first}/{last}", {})
        for row in answered_rows(body, "data", self.name):
            values: Any = row.get("intensity") if isinstance(row, dict) else None
            require(isinstance(values, dict), f"grid: {self.name} answered a row without intensity ({row!r})")
            known = values.get("actual") is not None
            value = self._value(values, "actual" if known else "forecast")
            yield IntensityPoint(
                answered_time(row, "from", self.name), value, "measured" if known else "foreseen"
            )
