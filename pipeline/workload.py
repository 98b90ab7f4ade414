"""Which requests arise, and when. Pure: chance is a workload's own seed's."""

from __future__ import annotations

import functools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain import ConfigError, RequestClass, Requests, require, require_number, require_whole

Floats = npt.NDArray[np.float64]

BLOCK = 65_536
"""Requests drawn at a time, so that memory does not grow with their number."""
REPLAY_COLUMNS = ("timestamp", "model", "deadline_s", "tenant")


def _draw_kinds(
    classes: tuple[RequestClass, ...], random: np.random.Generator, count: int
) -> npt.NDArray[np.int64]:
    """Of which classes the next so many requests are, as likely as their shares."""
    shares = np.cumsum([each.share for each in classes])
    return np.searchsorted(shares / shares[-1], random.random(count), side="right")


@dataclass(frozen=True)
class Closed:
    """A closed loop: the next request arises when one is answered, `concurrency` at a time."""

    requests: int = 50
    concurrency: int = 1
    classes: tuple[RequestClass, ...] = ()
    seed: int = 0
    """Of which class the next request is."""
    horizon_s: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        require_whole("workload", "requests", self.requests, least=1)
        require_whole("workload", "concurrency", self.concurrency, least=1)
        require_whole("workload", "seed", self.seed)
        object.__setattr__(self, "classes", RequestClass.all(self.classes))

    @property
    def count(self) -> int:
        """How many requests."""
        return self.requests

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """All arrive at 0: the backend lets `concurrency` of them in."""
        random = np.random.default_rng(self.seed)
        for begin in range(0, self.requests, BLOCK):
            count = min(BLOCK, self.requests - begin)
            yield Requests(np.zeros(count), _draw_kinds(self.classes, random, count))


@dataclass(frozen=True, kw_only=True)
class _Open(ABC):
    """An open loop: requests arise whether or not earlier ones are answered, at a mean rate, for a time."""

    duration_s: float = 60.0
    rate_rps: float | None = None
    """Requests a second, on average."""
    utilisation: float | None = None
    """In place of the rate: the share of what the fleet can answer at best."""
    classes: tuple[RequestClass, ...] = ()
    seed: int = 0
    count: ClassVar[None] = None
    concurrency: ClassVar[None] = None

    def __post_init__(self) -> None:
        require_number("workload", "duration_s", self.duration_s, least=0, above=True)
        require(
            (self.rate_rps is None) != (self.utilisation is None),
            "workload: give either rate_rps or utilisation "
            f"(rate_rps: {self.rate_rps}, utilisation: {self.utilisation}), the other null",
        )
        name = "utilisation" if self.rate_rps is None else "rate_rps"
        require_number("workload", name, getattr(self, name), least=0, above=True)
        require_whole("workload", "seed", self.seed)
        object.__setattr__(self, "classes", RequestClass.all(self.classes))

    @property
    def horizon_s(self) -> float:
        """Within which the last request arises."""
        return self.duration_s

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in blocks of at most BLOCK."""
        seeds = np.random.SeedSequence(self.seed).spawn(2)
        kinds = np.random.default_rng(seeds[1])
        rate = self.rate_rps if self.rate_rps is not None else float(self.utilisation or 0) * capacity_rps
        for block_s in self._times(rate, start_utc, np.random.default_rng(seeds[0])):
            yield Requests(block_s, _draw_kinds(self.classes, kinds, len(block_s)))

    @abstractmethod
    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        """Arrivals from 0 to duration_s, rising, in blocks that are not empty."""


def _poisson(rate_rps: float, begin_s: float, end_s: float, random: np.random.Generator) -> Iterator[Floats]:
    """A Poisson process from begin to end: exponential gaps, a block at a time."""
    while True:
        # A Poisson process knows no past: the gap to the next block starts where this one ends.
        most = int(min(BLOCK, max(16, 1.1 * rate_rps * (end_s - begin_s))))
        times_s = begin_s + np.cumsum(random.exponential(1 / rate_rps, most))
        within = times_s[: int(np.searchsorted(times_s, end_s))]
        if len(within):
            yield within
        if len(within) < most:
            return
        begin_s = float(within[-1])


@dataclass(frozen=True, kw_only=True)
class Poisson(_Open):
    """Independent requests: exponential times between them."""

    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        return _poisson(rate_rps, 0.0, self.duration_s, random)


@dataclass(frozen=True, kw_only=True)
class Bursty(_Open):
    """A Poisson process whose rate switches between two values at random times.

    The Markov-modulated Poisson process with two states (Fischer and Meier-Hellstern, "The Markov-modulated
    Poisson process (MMPP) cookbook", Performance Evaluation 18, 1993): how long a state lasts is exponential.
    """

    burst_factor: float = 10.0
    """The rate in a burst ÷ that between bursts."""
    burst_share: float = 0.1
    """Of the time."""
    burst_s: float = 1.0
    """Mean length of a burst."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("workload", "burst_factor", self.burst_factor, least=1)
        require_number("workload", "burst_s", self.burst_s, least=0, above=True)
        require_number("workload", "burst_share", self.burst_share, least=0, above=True)
        require(self.burst_share < 1, f"workload: burst_share must be below 1 ({self.burst_share})")

    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        calm_rps = rate_rps / (1 + self.burst_share * (self.burst_factor - 1))
        rates = {True: calm_rps * self.burst_factor, False: calm_rps}
        lasts_s = {True: self.burst_s, False: self.burst_s * (1 - self.burst_share) / self.burst_share}
        bursting = bool(random.random() < self.burst_share)
        begin_s, held, num_held = 0.0, [], 0  # blocks of one state are short: hand them on by the BLOCK
        while begin_s < self.duration_s:
            end_s = min(begin_s + random.exponential(lasts_s[bursting]), self.duration_s)
            for block_s in _poisson(rates[bursting], begin_s, end_s, random):
                held.append(block_s)
                num_held += len(block_s)
                if num_held >= BLOCK:
                    yield from _blocks(held)
                    held, num_held = [], 0
            begin_s, bursting = end_s, not bursting
        yield from _blocks(held)


def _blocks(parts: list[Floats]) -> Iterator[Floats]:
    whole = np.concatenate([np.empty(0), *parts])
    for begin in range(0, len(whole), BLOCK):
        yield whole[begin : begin + BLOCK]


@dataclass(frozen=True, kw_only=True)
class Diurnal(_Open):
    """A Poisson process whose rate follows the time of day.

    rate(t) = mean * (1 + swing * cos(2 pi (hour of day - peak_hour) / 24)), by thinning (Lewis and Shedler,
    1979): of requests at the peak's rate each is kept with the probability rate(t) ÷ peak.
    """

    swing: float = 0.6
    """0: the same all day; 1: none at all twelve hours from the peak."""
    peak_hour: float = 20.0
    utc_offset_h: float = 0.0
    """Hours by which local time is ahead of UTC."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("workload", "swing", self.swing, least=0)
        require(self.swing <= 1, f"workload: swing must lie in [0, 1] ({self.swing})")
        for name in ("peak_hour", "utc_offset_h"):
            require_number("workload", name, getattr(self, name), least=-24)

    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        midnight = start_utc.replace(hour=0, minute=0, second=0, microsecond=0)
        begin_h = (start_utc - midnight) / timedelta(hours=1) + self.utc_offset_h
        peak = 1 + self.swing
        for times_s in _poisson(rate_rps * peak, 0.0, self.duration_s, random):
            phase = 2 * math.pi * (begin_h + times_s / 3600 - self.peak_hour) / 24
            kept = times_s[random.random(len(times_s)) * peak < 1 + self.swing * np.cos(phase)]
            if len(kept):
                yield kept


@dataclass(frozen=True)
class Replay:
    """The requests of a CSV file: timestamp (ISO time or seconds) and perhaps model, deadline_s, tenant.

    Each distinct (model, deadline_s, tenant) is a class. The first request arises at the run's start.
    """

    path: str
    count: ClassVar[None] = None
    concurrency: ClassVar[None] = None

    def __post_init__(self) -> None:
        self._read()

    @property
    def classes(self) -> tuple[RequestClass, ...]:
        """By first appearance."""
        return self._read()[1]

    @property
    def horizon_s(self) -> float:
        """When the last request arises."""
        return float(self._read()[0].arrival_s[-1])

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The file's rows, in blocks."""
        rows, _ = self._read()
        for begin in range(0, len(rows), BLOCK):
            part = slice(begin, begin + BLOCK)
            yield Requests(rows.arrival_s[part], rows.kind[part])

    def _read(self) -> tuple[Requests, tuple[RequestClass, ...]]:
        require(isinstance(self.path, str), f"workload.path: must be a file's path (it is {self.path!r})")
        path = Path(self.path).expanduser()
        require(path.is_file(), f"workload.path: no such file ({path})")
        return _read_requests(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_requests(path: Path, modified_ns: int) -> tuple[Requests, tuple[RequestClass, ...]]:
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            table = pd.read_csv(path, skipinitialspace=True, index_col=False)
    except pd.errors.ParserWarning as error:
        raise ConfigError(
            f"workload.path: {path} has rows with more fields than its first line has names"
        ) from error
    except (ValueError, OSError) as error:
        raise ConfigError(f"workload.path: {path} is no CSV file ({str(error).splitlines()[0]})") from error
    unknown = [column for column in table.columns if column not in REPLAY_COLUMNS]
    require(
        "timestamp" in table and not unknown and len(table) > 0,
        f"workload.path: {path} must have rows under timestamp and perhaps {', '.join(REPLAY_COLUMNS[1:])} "
        f"(it has {len(table)} under {', '.join(map(str, table.columns))})",
    )
    at_s = _seconds(table["timestamp"])
    _require_rows(path, np.isfinite(at_s), "timestamp must be an ISO time or seconds")
    _require_rows(path, np.diff(at_s, prepend=at_s[0]) >= 0, "timestamp must not be before the row above")
    about = table.reindex(columns=list(REPLAY_COLUMNS[1:]))
    deadline_s = pd.to_numeric(about["deadline_s"], errors="coerce")
    good = about["deadline_s"].isna() | (np.isfinite(deadline_s) & (deadline_s > 0))
    _require_rows(path, good.to_numpy(), "deadline_s must be a number > 0, or empty")
    kind, distinct = pd.factorize(pd.MultiIndex.from_frame(about.astype(object).where(about.notna(), None)))
    first = np.unique(kind, return_index=True)[1]
    classes = tuple(
        RequestClass(
            name=" ".join([f"line {line}", *(str(each) for each in (tenant, model) if pd.notna(each))]),
            tenant="default" if pd.isna(tenant) else str(tenant),
            model=None if pd.isna(model) else str(model),
            deadline_s=None if pd.isna(deadline) else float(deadline),
        )
        for line, (model, deadline, tenant) in zip(first + 2, distinct, strict=True)
    )
    return Requests(at_s - at_s[0], kind.astype(np.int64)), classes


def _seconds(timestamps: pd.Series) -> Floats:
    """Seconds of numbers, or of ISO times (UTC where none is said); NaN for neither."""
    numbers = pd.to_numeric(timestamps, errors="coerce")
    if numbers.notna().any():
        return np.asarray(numbers, dtype=float)
    times = pd.to_datetime(timestamps, errors="coerce", utc=True, format="ISO8601")
    return np.asarray((times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=float)


def _require_rows(path: Path, good: npt.NDArray[np.bool_], message: str) -> None:
    bad = np.flatnonzero(~good)
    require(not len(bad), f"workload.path: {path}, line {bad[0] + 2 if len(bad) else 0}: {message}")
