"""Arrivals at given times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipeline.domain.requests import RequestClass, Requests


@dataclass(frozen=True)
class At:
    """Requests at given times, in turn of each class."""

    times_s: Sequence[float]
    classes: tuple[RequestClass, ...] = (RequestClass(),)
    concurrency: int | None = None
    block: int = 1000

    @property
    def count(self) -> int:
        return len(self.times_s)

    @property
    def horizon_s(self) -> float:
        return max(self.times_s)

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        kinds = np.arange(len(self.times_s)) % len(self.classes)
        for k in range(0, len(self.times_s), self.block):
            yield Requests(np.array(self.times_s[k : k + self.block], dtype=float), kinds[k : k + self.block])
