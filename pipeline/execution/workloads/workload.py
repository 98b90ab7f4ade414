"""The protocol of workloads, and the draw of a request's class. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import require
from pipeline.domain.requests import RequestClass, Requests


class Workload(Protocol):
    """The requests of a run: their classes, number and arrival times."""

    @property
    def classes(self) -> tuple[RequestClass, ...]:
        """The classes of requests, at least one."""
        ...

    @property
    def count(self) -> int | None:
        """Number of requests in a closed loop; None in an open loop."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Requests at a time in a closed loop: the next arrives when one is answered. None: open loop."""
        ...

    @property
    def horizon_s(self) -> float:
        """Seconds within which all requests arrive; 0 in a closed loop, where that is not known."""
        ...

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in order of arrival, in blocks; equal calls give equal requests.

        capacity_rps: the highest rate that the fleet can answer, for workloads whose rate is a share of it.
        """
        ...


BLOCK = 65_536
"""Most requests in a block, so that memory does not grow with the number of requests."""
MOST_REQUESTS = 100_000_000
"""Default of `most_requests`: a run with more expected requests is refused, since it would take hours."""


def require_few(requests: str, expected: float, most: int, remedy: str) -> None:
    """Raise ConfigError, with the remedy, if a run would have more than `most` requests.

    requests: how many are expected, and when, as text.
    """
    too_many = f"workload: {requests}, more than workload.most_requests ({most:,}); {remedy}"
    require(expected <= most, too_many)


def draw_kinds(
    classes: tuple[RequestClass, ...], random: np.random.Generator, count: int
) -> npt.NDArray[np.int64]:
    """(count,): a random index into `classes` for each request, in proportion to their shares."""
    shares = np.cumsum([each.share for each in classes])
    return np.searchsorted(shares / shares[-1], random.random(count), side="right")
