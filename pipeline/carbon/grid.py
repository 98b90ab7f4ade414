"""What a source of carbon intensity must be able to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pipeline.domain.checks import require


class Grid(Protocol):
    """Carbon intensity of a zone."""

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """What is in force from begin to end (UTC): (since, gCO2e/kWh), each until the next one's `since`.

        The first holds since `begin` or before. Raises ConfigError for a zone that is unknown, and for a time
        that the source does not cover.
        """
        ...

    def about(self) -> Mapping[str, str]:
        """What an audit says of it: source, factor, and where there are data, their hash."""
        ...


def require_average(grid: Grid) -> None:
    """Refuse a marginal source: it tells what a change would do, not what a run emitted (GHG Protocol)."""
    require(
        not getattr(grid, "marginal", False),
        "grid: a marginal source cannot account for what a run emitted; choose one of average intensity (for "
        "WattTime grid.signal=co2_aoer)",
    )
