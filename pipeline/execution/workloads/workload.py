"""What a workload must be able to do. Pure."""

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
        """At least one."""
        ...

    @property
    def count(self) -> int | None:
        """How many requests; None where chance decides."""
        ...

    @property
    def concurrency(self) -> int | None:
        """Requests at a time in a closed loop, where the next arises when one is done; None: an open loop."""
        ...

    @property
    def horizon_s(self) -> float:
        """Within which the last request arises; 0 in a closed loop, of which nobody knows it."""
        ...

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """The requests in blocks, by arrival; the same ones each time.

        capacity_rps: what the fleet can answer at best, for a rate that is given as a share of it.
        """
        ...


BLOCK = 65_536
"""Requests drawn at a time, so that memory does not grow with their number."""


def draw_kinds(
    classes: tuple[RequestClass, ...], random: np.random.Generator, count: int
) -> npt.NDArray[np.int64]:
    """Of which classes the next so many requests are, as likely as their shares."""
    shares = np.cumsum([each.share for each in classes])
    return np.searchsorted(shares / shares[-1], random.random(count), side="right")
