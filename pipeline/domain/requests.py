"""Requests and the classes that they belong to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import named, require, require_mapping, require_number
from pipeline.domain.quantities import plain_values


@dataclass(frozen=True)
class RequestClass:
    """Requests that share a tenant, a model and a deadline.

    A short deadline is a latency target; a long one leaves slack in which a request may be deferred.
    Raises ConfigError naming a bad key.
    """

    name: str = "default"
    tenant: str = "default"
    model: str | None = None
    """Name of the model; None: the model that the config selects."""
    deadline_s: float | None = None
    """Seconds from arrival to the latest answer; None: no deadline."""
    share: float = 1.0
    """Share of all requests, relative to the shares of the other classes."""

    def __post_init__(self) -> None:
        owner = f"workload.classes.{self.name}"
        require_number(owner, "share", self.share, least=0)
        if self.deadline_s is not None:
            require_number(owner, "deadline_s", self.deadline_s, least=0, above=True)
        require(isinstance(self.tenant, str), f"{owner}.tenant: must be a name ({self.tenant!r})")
        model = self.model
        require(model is None or isinstance(model, str), f"{owner}.model: must be a name ({model!r})")

    @classmethod
    def all(cls, classes: Mapping[str, Mapping[str, Any]] | tuple[Self, ...]) -> tuple[Self, ...]:
        """The classes of a config's mapping by name; one class without a deadline if it is empty.

        Raises ConfigError naming a bad key, or if all shares are 0.
        """
        if isinstance(classes, tuple):
            return classes or (cls(),)
        require_mapping("workload.classes", classes, "names to classes")
        owner = "workload.classes"
        found = tuple(
            named(cls, owner, name, plain_values(f"{owner}.{name}", given, ("deadline_s",)))
            for name, given in classes.items()
        )
        require(not found or sum(c.share for c in found) > 0, "workload.classes: the shares are all 0")
        return found or (cls(),)


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests in order of arrival. Both arrays are (requests,)."""

    arrival_s: npt.NDArray[np.float64]
    """Seconds from the run's start, rising; all 0 in a closed loop."""
    kind: npt.NDArray[np.int64]
    """Index of the request's class."""

    def __len__(self) -> int:
        return len(self.arrival_s)
