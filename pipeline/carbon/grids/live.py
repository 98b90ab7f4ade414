"""Carbon intensity asked of a service while it is needed. Shell.

Every answer is kept on disk with the time at which it was given, so that a run can be made again offline.
Where answers overlap the latest wins: what was measured replaces what was foreseen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline.carbon.grids.trace_file import MAX_G_PER_KWH
from pipeline.domain.checks import ConfigError, require, require_number, require_whole, utc

STRANGE = (AttributeError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError)
"""What an answer of another shape than the official one may lead to."""
BUSY = (429, 500, 502, 503, 504)
"""Answers after which the service is asked again."""
MAX_PAUSE_S = 60
"""A service that asks for more patience (Retry-After) is not waited for."""
FORESEEN_FOR = timedelta(minutes=30)
"""For so long a forecast is taken from disk instead of being asked for anew."""


class IntensityPoint(NamedTuple):
    """A value, and whether the service measured it, estimated it or foresaw it."""

    since: datetime
    g_per_kwh: float
    how: str


@dataclass(frozen=True)
class Live(ABC):
    """What all services have in common: how they are asked, and what is kept of their answers."""

    url: str
    cache_dir: str = ".cache/grid"
    """Where answers are kept."""
    offline: bool = False
    """Ask nobody: take what is kept."""
    as_of: str | None = None
    """Take no answer that was given later, as in 2030-01-15T09:48; with `offline` it repeats a run."""
    timeout_s: float = 10.0
    retries: int = 3

    name: ClassVar[str]
    step: ClassVar[timedelta]
    """From one value to the next."""
    span: ClassVar[timedelta]
    """The most that one question may cover."""

    def __post_init__(self) -> None:
        good = isinstance(self.url, str) and self.url.startswith(("http://", "https://"))
        require(good, f"grid.url: must be a URL ({self.url!r})")
        require(isinstance(self.offline, bool), f"grid.offline: must be true or false ({self.offline!r})")
        require(
            self.as_of is None or self.offline,
            "grid.as_of: needs grid.offline=true (what is asked now is later)",
        )
        self._until()
        require(isinstance(self.cache_dir, str), f"grid.cache_dir: must be a path ({self.cache_dir!r})")
        require_number("grid", "timeout_s", self.timeout_s, least=0, above=True)
        require_whole("grid", "retries", self.retries)

    @property
    def marginal(self) -> bool:
        """Whether its values are marginal, which no accounting may use."""
        return False

    @property
    @abstractmethod
    def factor(self) -> str:
        """What its values count."""

    @abstractmethod
    def ask(
        self, session: requests.Session, zone: str, begin: datetime, end: datetime
    ) -> Iterator[IntensityPoint]:
        """The values from begin to end, at most `span` apart, as the service has them now."""

    def about(self) -> dict[str, str]:
        """The service, its factor, and until when its answers were taken, with the hash of all of these."""
        until = self._until()
        kept = [path for path in self._files(self._folder()) if _issued(path) <= until]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in kept)).hexdigest()
        about = {"source": self.url, "factor": self.factor, "answers": str(len(kept)), "sha256": digest}
        return about | {"as_of": until.isoformat()}

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The values from begin to end, from disk where they are there, else asked for.

        Raises ConfigError where they are not to be had, saying why.
        """
        # Without a zone, or for one that they do not know, some services answer for the caller's place.
        good = re.fullmatch(r"[A-Za-z0-9][\w.-]*", zone) is not None
        require(good, f"zone: a live source must be asked for a zone by its code ({zone!r})")
        found = self._known(zone, begin, end, fresh_only=not self.offline)
        if found is None and not self.offline:
            self._fetch(zone, begin, end)
            found = self._known(zone, begin, end, fresh_only=False)
        if found is None:
            times = f"{begin:%Y-%m-%dT%H:%M} and {end:%Y-%m-%dT%H:%M} UTC"
            whose = f"what is kept of {self.name}" if self.offline else self.name
            raise ConfigError(
                f"zone: {whose} does not cover {zone} between {times}; choose another start_utc"
                f"{', or offline=false' if self.offline else ''}"
            )
        return [(point.since, point.g_per_kwh) for point in found]

    def _fetch(self, zone: str, begin: datetime, end: datetime) -> None:
        """Ask for what lies between, and keep what comes, also where a later answer fails."""
        with self._session() as session:
            at = begin
            while at <= end:
                until, points, now = min(end, at + self.span), list[IntensityPoint](), self.now()
                try:
                    for point in self.ask(session, zone, at, until):
                        points.append(point)
                except ConfigError:
                    raise
                except STRANGE as error:
                    raise ConfigError(
                        f"grid: {self.name} answered in a shape that is not known ({type(error).__name__})"
                    ) from error
                finally:
                    if points:
                        self._keep(zone, now, points)
                at = until + timedelta(microseconds=1)

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    def _until(self) -> datetime:
        return self.now() if self.as_of is None else utc("grid.as_of", self.as_of)

    # --- what is kept ---

    def _folder(self) -> Path:
        return Path(self.cache_dir).expanduser() / self.name

    def _keep(self, zone: str, issued: datetime, points: Sequence[IntensityPoint]) -> None:
        folder = self._folder() / zone
        answer = {
            "issued": issued.isoformat(),
            "factor": self.factor,
            "points": [[point.since.isoformat(), point.g_per_kwh, point.how] for point in points],
        }
        text = json.dumps(answer)
        name = f"{issued:%Y%m%dT%H%M%S%f}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{name}.{os.getpid()}.partial"
            partial.write_text(text)
            partial.replace(folder / name)
        except OSError as error:
            raise ConfigError(f"grid.cache_dir: cannot write {folder} ({error.strerror})") from error

    def _files(self, folder: Path) -> list[Path]:
        """What is kept below a folder, by time of issue."""
        return sorted(folder.rglob("*.json"), key=lambda path: path.name)

    def _known(
        self, zone: str, begin: datetime, end: datetime, *, fresh_only: bool
    ) -> list[IntensityPoint] | None:
        """The points from begin to end as kept, the latest of each; None where they do not cover it."""
        now, until, merged = self.now(), self._until(), dict[datetime, IntensityPoint]()
        for path in self._files(self._folder() / zone):
            try:
                answer = json.loads(path.read_text())
                issued, factor, rows = (
                    datetime.fromisoformat(answer["issued"]),
                    answer["factor"],
                    answer["points"],
                )
                points = [
                    IntensityPoint(datetime.fromisoformat(at), float(value), how) for at, value, how in rows
                ]
                good = all(0 <= p.g_per_kwh <= MAX_G_PER_KWH and p.since.tzinfo is not None for p in points)
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise ConfigError(f"grid.cache_dir: {path} is broken ({error}); remove it") from error
            require(good, f"grid.cache_dir: {path} is broken (what is no intensity); remove it")
            if factor != self.factor or issued > until:
                continue
            stale = fresh_only and now - issued > FORESEEN_FOR
            merged |= {point.since: point for point in points if not (stale and point.how == "foreseen")}
        inside = sorted(p for p in merged.values() if begin - self.step < p.since <= end)
        if not inside or inside[0].since > begin or inside[-1].since + self.step < end:
            return None
        whole = all(later.since - point.since <= self.step for point, later in pairwise(inside))
        return inside if whole else None

    # --- how it is asked ---

    def _session(self) -> requests.Session:
        patience = Retry(
            total=self.retries, backoff_factor=0.2, status_forcelist=BUSY, raise_on_status=False,
            respect_retry_after_header=True, retry_after_max=MAX_PAUSE_S,
        )  # fmt: skip
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # what fails is told once, by us
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=patience))
        return session

    def _get(self, session: requests.Session, path: str, params: Mapping[str, str], **options: Any) -> Any:
        """The JSON of an answer; ConfigError for no answer, a refusal, or what is no JSON."""
        where = f"grid: {self.name} ({self.url.rstrip('/')}/{path})"
        try:
            answer = session.get(
                f"{self.url.rstrip('/')}/{path}",
                params=params,
                timeout=self.timeout_s,
                allow_redirects=False,  # another host must not be shown the key
                **options,
            )
        except UnicodeError as error:
            raise ConfigError(f"{where}: the key has letters that no key has; {self._key_hint()}") from error
        except requests.RequestException as error:
            late = "timed out" in str(error).lower()
            reason = "no answer in time" if late else "cannot be reached"
            raise ConfigError(f"{where}: {reason}; grid.offline=true takes what is kept") from error
        if answer.status_code in (401, 403):
            raise ConfigError(f"{where}: refused the key ({self._reason(answer)}); {self._key_hint()}")
        if answer.status_code == 429:
            raise ConfigError(
                f"{where}: asked too often, even after waiting; try later ({self._reason(answer)})"
            )
        require(answer.status_code == 200, f"{where}: answered {answer.status_code} ({self._reason(answer)})")
        try:
            return answer.json()
        except ValueError as error:
            raise ConfigError(f"{where}: answered what is no JSON") from error

    @property
    def secrets(self) -> tuple[str, ...]:
        """The environment variables that hold what it must be told to answer."""
        return ()

    def _secrets(self) -> tuple[str, ...]:
        """Their values. Raises ConfigError for one that is not set."""
        values = tuple(os.environ.get(name, "") for name in self.secrets)
        missing = [name for name, value in zip(self.secrets, values, strict=True) if not value]
        require(not missing, f"grid: {self.name} needs a key; set {' and '.join(missing)} in the environment")
        return values

    def _key_hint(self) -> str:
        return f"look at {' and '.join(self.secrets)}" if self.secrets else "it needs none"

    def _reason(self, answer: requests.Response) -> str:
        """What the service says of a refusal, without any key that it may repeat."""
        try:
            body = answer.json()
        except ValueError:
            return answer.reason or "no reason given"
        said = body.get("message") or body.get("error") if isinstance(body, dict) else None
        text = str(said.get("message", said) if isinstance(said, dict) else said or answer.reason)
        for secret in filter(None, map(os.environ.get, self.secrets)):
            text = text.replace(secret, "***")
        return " ".join(text.split())[:200]

    def _value(self, row: Mapping[str, Any], key: str, factor: float = 1.0) -> float:
        """A value in g/kWh. Raises ConfigError for one that cannot be an intensity."""
        value = row.get(key)
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        g_per_kwh = float(value) * factor if good and value is not None else math.nan
        require(
            0 <= g_per_kwh <= MAX_G_PER_KWH,
            f"grid: {self.name} answered {key}={value!r}, which is no intensity in g/kWh ({dict(row)})",
        )
        return g_per_kwh


def _issued(path: Path) -> datetime:
    """When a kept answer was given: it stands in the file's name."""
    try:
        return datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"grid.cache_dir: {path} is no answer; remove it") from error


def answered_time(row: Any, key: str, name: str) -> datetime:
    """The time under a key of a row, in UTC. Raises ConfigError naming the service."""
    try:
        at = datetime.fromisoformat(row[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"grid: {name} answered a row without a time {key!r} ({row!r})") from error
    require(at.tzinfo is not None, f"grid: {name} answered a time without offset ({row[key]!r})")
    return at.astimezone(UTC)


def answered_rows(body: Any, key: str, name: str) -> list[Any]:
    """The list under a key of an answer. Raises ConfigError naming the service."""
    rows = body.get(key) if isinstance(body, dict) else None
    said = body.get("message", "") if isinstance(body, dict) else ""
    require(isinstance(rows, list), f"grid: {name} answered without {key!r} ({said or 'unknown shape'})")
    assert isinstance(rows, list)
    return rows


def iso_text(at: datetime) -> str:
    """A time as in 2030-01-15T09:48:00Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
