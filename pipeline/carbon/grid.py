"""The protocol of a source of carbon intensity, and the check that it is an average. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pipeline.domain.checks import LARGEST, ConfigError, require

MAX_G_PER_KWH = LARGEST["_g_per_kwh"]
"""Upper limit for any grid; a higher value must be in another unit, such as lb/MWh or kg/MWh."""


class NotCoveredError(ConfigError):
    """A source does not cover a time, but others before it."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until
        """Time (UTC) up to which the source covers the period from the asked-for begin on."""


class Grid(Protocol):
    """Carbon intensity of a zone."""

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The values in force from begin to end (UTC): (since, gCO2e/kWh), each until the next one's `since`.

        The first is in force at `begin`. Raises ConfigError for an unknown zone and for a time that the
        source does not cover; NotCoveredError if it covers the period from `begin` to some later time.
        """
        ...

    def about(self) -> Mapping[str, str]:
        """Provenance for audits: source, factor, and the hash of the data where the source has data."""
        ...


def require_average(grid: Grid) -> None:
    """Raise ConfigError for a marginal source: it gives the effect of a change, not the emissions of a run.

    (GHG Protocol, Scope 2 Guidance, 2015.)
    """
    require_no_marginal("grid", getattr(grid, "marginal", False))


def require_no_marginal(owner: str, marginal: bool) -> None:
    """Raise ConfigError for the owner of marginal values, a grid or a column, as `require_average`."""
    require(
        not marginal,
        f"{owner}: a marginal source cannot account for what a run emitted; choose one of average intensity "
        "(for WattTime, grid.signal=co2_aoer)",
    )
