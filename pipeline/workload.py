"""Which requests arise, and when. Pure: chance is a workload's own seed's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.domain import RequestClass, Requests, require_whole

BLOCK = 65_536
"""Requests drawn at a time, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Closed:
    """A closed loop: the next request arises when one is answered, `concurrency` at a time."""

    requests: int = 50
    concurrency: int = 1
    classes: tuple[RequestClass, ...] = ()
    seed: int = 0
    """Of which class the next request is."""
    horizon_s: ClassVar[float] = 0.0

    @property
    def count(self) -> int:
        """How many requests."""
        return self.requests

    def __post_init__(self) -> None:
        require_whole("workload", "requests", self.requests, least=1)
        require_whole("workload", "concurrency", self.concurrency, least=1)
        require_whole("workload", "seed", self.seed)
        object.__setattr__(self, "classes", RequestClass.all(self.classes))

    def arrivals(self, capacity_rps: float, start_utc: datetime) -> Iterator[Requests]:
        """All arrive at 0: the backend lets `concurrency` of them in."""
        kinds = draw_kinds(self.classes, np.random.default_rng(self.seed))
        for begin in range(0, self.requests, BLOCK):
            count = min(BLOCK, self.requests - begin)
            yield Requests(np.zeros(count), kinds(count))


def draw_kinds(
    classes: tuple[RequestClass, ...], random: np.random.Generator
) -> Callable[[int], npt.NDArray[np.int64]]:
    """Says of which classes the next so many requests are, as likely as their shares."""
    shares = np.array([each.share for each in classes])
    return lambda count: random.choice(len(classes), size=count, p=shares / shares.sum())
