"""The base of all services: intensities come from stored answers, else from a new request. Shell."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.live.answer_store import (
    Answer,
    AnswerStore,
    IntensityPoint,
    covered_until,
    covering,
)
from pipeline.carbon.grids.live.http_client import HttpClient
from pipeline.domain.checks import ConfigError, require, require_number, require_whole, utc

UNEXPECTED = (AttributeError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError)
"""Errors that an answer of an undocumented shape can cause."""
FORECAST_LIFETIME = timedelta(minutes=30)
"""Age at which a stored forecast is requested again."""


@dataclass(frozen=True)
class Live(ABC):
    """A service. Where its answers overlap, the latest counts, so that measured values replace forecasts.

    Raises ConfigError naming a bad key.
    """

    url: str
    cache_dir: str = ".cache/grid"
    """The folder of stored answers."""
    offline: bool = False
    """Use stored answers only."""
    as_of: str | None = None
    """UTC time such as 2030-01-15T09:48: ignore later answers. With `offline`, this repeats a run."""
    timeout_s: float = 10.0
    retries: int = 3

    name: ClassVar[str]
    step: ClassVar[timedelta]
    """Time between two values."""
    span: ClassVar[timedelta]
    """The longest period of one request."""

    def __post_init__(self) -> None:
        good = isinstance(self.url, str) and self.url.startswith(("http://", "https://"))
        require(good, f"grid.url: must be a URL ({self.url!r})")
        require(isinstance(self.offline, bool), f"grid.offline: must be true or false ({self.offline!r})")
        require(
            self.as_of is None or self.offline,
            "grid.as_of: needs grid.offline=true (a new request would give a later answer)",
        )
        self._issued_until()
        require(isinstance(self.cache_dir, str), f"grid.cache_dir: must be a path ({self.cache_dir!r})")
        require_number("grid", "timeout_s", self.timeout_s, least=0, above=True)
        require_whole("grid", "retries", self.retries)

    @property
    def marginal(self) -> bool:
        """Whether its values are marginal; accounting may not use those."""
        return False

    @property
    @abstractmethod
    def factor(self) -> str:
        """The kind of its emission factors, such as `lifecycle, average`."""

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The environment variables that hold its keys."""
        return ()

    @abstractmethod
    def ask(self, client: HttpClient, zone: str, begin: datetime, end: datetime) -> Iterator[IntensityPoint]:
        """Request the values from begin to end, at most `span` apart."""

    def about(self) -> dict[str, str]:
        """source, factor, answers (number of stored ones), their sha256, as_of (time limit of answers)."""
        until = self._issued_until()
        count, sha256 = self._store().digest(until)
        about = {"source": self.url, "factor": self.factor, "answers": str(count), "sha256": sha256}
        return about | {"as_of": until.isoformat()}

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The values from begin to end as (since, gCO2e/kWh), from stored answers if these cover the period.

        Raises ConfigError where the values are not available, and for a failed request, with its reason.
        """
        # Without a zone, or for an unknown one, some services answer for the caller's location.
        good = re.fullmatch(r"[A-Za-z0-9][\w.-]*", zone) is not None
        require(good, f"zone: a live source needs a zone code ({zone!r})")
        fresh = None if self.offline else self.now() - FORECAST_LIFETIME
        found = self._stored(zone, begin, end, foreseen_since=fresh)
        if found is None and not self.offline:
            try:
                self._request(zone, begin, end)
            except NotCoveredError:
                raise
            except ConfigError as error:
                raise self._refusal(str(error), zone, begin) from error
            found = self._stored(zone, begin, end)
        if found is None:
            times = f"{begin:%Y-%m-%dT%H:%M} and {end:%Y-%m-%dT%H:%M} UTC"
            stored = f"the stored answers of {self.name} do not cover"
            message = (
                f"zone: {stored if self.offline else f'{self.name} does not cover'} {zone} between {times}; "
                f"choose another start_utc{', or grid.offline=false' if self.offline else ''}"
            )
            raise self._refusal(message, zone, begin)
        return [(point.since, point.g_per_kwh) for point in found]

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    def _issued_until(self) -> datetime:
        return self.now() if self.as_of is None else utc("grid.as_of", self.as_of)

    def _store(self) -> AnswerStore:
        return AnswerStore(Path(self.cache_dir).expanduser() / self.name)

    def _stored(
        self, zone: str, begin: datetime, end: datetime, foreseen_since: datetime | None = None
    ) -> list[IntensityPoint] | None:
        points = self._store().points(zone, self.factor, self._issued_until(), foreseen_since)
        return covering(points, begin, end, self.step)

    def _refusal(self, message: str, zone: str, begin: datetime) -> ConfigError:
        """The error that also states how far the stored answers reach from `begin` on."""
        points = self._store().points(zone, self.factor, self._issued_until())
        until = covered_until(points, begin, self.step)
        return ConfigError(message) if until is None else NotCoveredError(message, until)

    def _request(self, zone: str, begin: datetime, end: datetime) -> None:
        """Request the values span by span, and store each answer, even if a later request fails.

        Raises ConfigError without the keys that a service may repeat, NotCoveredError beyond its forecasts.
        """
        with HttpClient(self.name, self.url, self.key_variables, self.timeout_s, self.retries) as client:
            at = begin
            while at <= end:
                until, points, now = min(end, at + self.span), list[IntensityPoint](), self.now()
                try:
                    for point in self.ask(client, zone, at, until):
                        points.append(point)
                except NotCoveredError:
                    raise
                except ConfigError as error:  # the only way out for what a service answered
                    raise ConfigError(client.without_keys(error)) from None
                except UNEXPECTED as error:
                    raise ConfigError(
                        f"grid: {self.name} answered in an unknown shape ({type(error).__name__})"
                    ) from error
                finally:
                    if points:
                        self._store().keep(zone, Answer(now, self.factor, points))
                at = until + timedelta(microseconds=1)
