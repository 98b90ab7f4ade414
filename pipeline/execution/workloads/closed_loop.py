"""A closed loop: the next request arrives when one is answered. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np

from pipeline.domain.checks import require_seed, require_whole
from pipeline.domain.requests import RequestClass, Requests
from pipeline.execution.workloads.workload import BLOCK, MOST_REQUESTS, draw_kinds, require_few


@dataclass(frozen=True)
class Closed:
    """`requests` requests, `concurrency` of them at a time: the next arrives when one is answered.

    Raises ConfigError naming a bad key.
    """

    requests: int = 50
    concurrency: int = 1
    classes: tuple[RequestClass, ...] = ()
    seed: int = 0
    """Seed of the requests' classes."""
    most_requests: int = MOST_REQUESTS
    """A run with more requests is refused."""
    horizon_s: ClassVar[float] = 0.0
    """0, because the time of the last request is not known in advance."""

    def __post_init__(self) -> None:
        require_whole("workload", "requests", self.requests, least=1)
        require_whole("workload", "concurrency", self.concurrency, least=1)
        require_seed("workload", self.seed)
        require_whole("workload", "most_requests", self.most_requests, least=1)
        asked = f"{self.requests} requests would be asked"
        require_few(asked, self.requests, self.most_requests, "lower workload.requests")
        object.__setattr__(self, "classes", RequestClass.all(self.classes))

    @property
    def count(self) -> int:
        """Number of requests."""
        return self.requests

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """Blocks of at most BLOCK requests, all at time 0: the backend admits `concurrency` at a time."""
        random = np.random.default_rng(self.seed)
        for begin in range(0, self.requests, BLOCK):
            count = min(BLOCK, self.requests - begin)
            yield Requests(np.zeros(count), draw_kinds(self.classes, random, count))
