"""A closed loop: the next request arises when one is answered. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np

from pipeline.domain.checks import require_whole
from pipeline.domain.requests import RequestClass, Requests
from pipeline.execution.workloads.workload import BLOCK, draw_kinds


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
            yield Requests(np.zeros(count), draw_kinds(self.classes, random, count))
