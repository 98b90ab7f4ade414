"""Open loops: Poisson, bursty and diurnal arrivals, which do not wait for earlier answers. Pure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import require, require_number, require_seed, require_whole
from pipeline.domain.requests import RequestClass, Requests
from pipeline.execution.workloads.workload import BLOCK, MOST_REQUESTS, draw_kinds, require_few

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Open(ABC):
    """Requests at a mean rate, given by either `rate_rps` or `utilisation`, for `duration_s`.

    Raises ConfigError naming a bad key.
    """

    duration_s: float = 60.0
    rate_rps: float | None = None
    """Mean number of requests per second."""
    utilisation: float | None = None
    """Instead of the rate: the mean rate ÷ the highest rate that the fleet can answer."""
    classes: tuple[RequestClass, ...] = ()
    seed: int = 0
    """Seed of the arrival times and of the requests' classes."""
    most_requests: int = MOST_REQUESTS
    """A run with more expected requests is refused."""
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
        require_seed("workload", self.seed)
        require_whole("workload", "most_requests", self.most_requests, least=1)
        object.__setattr__(self, "classes", RequestClass.all(self.classes))

    @property
    def horizon_s(self) -> float:
        """Seconds within which all requests arrive."""
        return self.duration_s

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in order of arrival, in blocks of at most BLOCK."""
        seeds = np.random.SeedSequence(self.seed).spawn(2)
        kinds = np.random.default_rng(seeds[1])
        rate = self.rate_rps if self.rate_rps is not None else float(self.utilisation or 0) * capacity_rps
        expected = rate * self.duration_s
        arriving = f"about {expected:.3g} requests would arrive in {self.duration_s:g} s"
        require_few(arriving, expected, self.most_requests, "lower the rate or the duration")
        for block_s in self._times(rate, start_utc, np.random.default_rng(seeds[0])):
            yield Requests(block_s, draw_kinds(self.classes, kinds, len(block_s)))

    @abstractmethod
    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        """Arrival times in seconds from 0 to duration_s, ascending, in blocks (n,) of 1 to BLOCK times."""


def _poisson(rate_rps: float, begin_s: float, end_s: float, random: np.random.Generator) -> Iterator[Floats]:
    """Arrival times of a Poisson process from begin to end, with exponential gaps, in blocks (n,)."""
    while True:
        # A Poisson process has no memory: the gap to the next block starts at the last time of this one.
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
    """Independent requests: a Poisson process of constant rate."""

    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        return _poisson(rate_rps, 0.0, self.duration_s, random)


@dataclass(frozen=True, kw_only=True)
class Bursty(_Open):
    """A Poisson process whose rate switches between two values at random times.

    The Markov-modulated Poisson process with two states (Fischer and Meier-Hellstern, "The Markov-modulated
    Poisson process (MMPP) cookbook", Performance Evaluation 18, 1993): the length of a state is exponential.
    Raises ConfigError naming a bad key.
    """

    burst_factor: float = 10.0
    """The rate in a burst ÷ the rate between bursts."""
    burst_share: float = 0.1
    """Share of time in bursts, in (0, 1)."""
    burst_s: float = 1.0
    """Mean length of a burst in seconds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("workload", "burst_factor", self.burst_factor, least=1)
        require_number("workload", "burst_s", self.burst_s, least=0, above=True)
        require_number("workload", "burst_share", self.burst_share, least=0, above=True)
        require(self.burst_share < 1, f"workload: burst_share must be below 1 ({self.burst_share})")
        bursts = self.burst_share * self.duration_s / self.burst_s
        require(
            bursts <= self.most_requests,
            f"workload: burst_s of {self.burst_s:g} would be {bursts:.3g} bursts in {self.duration_s:g} s; "
            f"workload.most_requests allows {self.most_requests:,}",
        )

    def _times(self, rate_rps: float, start_utc: datetime, random: np.random.Generator) -> Iterator[Floats]:
        calm_rps = rate_rps / (1 + self.burst_share * (self.burst_factor - 1))
        rates = {True: calm_rps * self.burst_factor, False: calm_rps}
        lasts_s = {True: self.burst_s, False: self.burst_s * (1 - self.burst_share) / self.burst_share}
        bursting = bool(random.random() < self.burst_share)
        begin_s, held, num_held = 0.0, [], 0  # the blocks of one state are short: join them to about BLOCK
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
    """The parts (n,) joined and cut into blocks of at most BLOCK."""
    whole = np.concatenate([np.empty(0), *parts])
    for begin in range(0, len(whole), BLOCK):
        yield whole[begin : begin + BLOCK]


@dataclass(frozen=True, kw_only=True)
class Diurnal(_Open):
    """A Poisson process whose rate follows the time of day.

    rate(t) = mean * (1 + swing * cos(2 pi (hour of day - peak_hour) / 24)), by thinning (Lewis and Shedler,
    1979): requests are drawn at the peak rate, and each is kept with the probability rate(t) ÷ peak rate.
    Raises ConfigError naming a bad key.
    """

    swing: float = 0.6
    """Amplitude in [0, 1]. 0: the same rate all day; 1: a rate of 0 twelve hours from the peak."""
    peak_hour: float = 20.0
    """Local hour of the day with the highest rate."""
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
