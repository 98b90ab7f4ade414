"""The protocol of workloads, and the draw of a request's class. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.domain.requests import RequestClass, Requests


class Workload(Protocol):
    """Which requests arise, and when."""

    @property
    def classes(self) -> tuple[RequestClass, ...]:
        """The classes of requests, at least one."""
        ...

    @property
    def count(self) -> int | None:
        """Number of requests; None where it is random."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Requests at a time in a closed loop: the next arises when one is answered. None in an open loop."""
        ...

    @property
    def horizon_s(self) -> float:
        """Seconds within which the last request arises; 0 in a closed loop, where that is not known."""
        ...

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in blocks, by arrival; equal calls give equal requests.

        capacity_rps: the highest rate that the fleet can answer, for workloads whose rate is a share of it.
        """
        ...


BLOCK = 65_536
"""Most requests in a block, so that memory does not grow with the number of requests."""


def draw_kinds(
    classes: tuple[RequestClass, ...], random: np.random.Generator, count: int
) -> npt.NDArray[np.int64]:
    """(count,): a random index into `classes` for each request, with probabilities by their shares."""
    shares = np.cumsum([each.share for each in classes])
    return np.searchsorted(shares / shares[-1], random.random(count), side="right")
