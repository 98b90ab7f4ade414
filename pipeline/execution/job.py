"""The job that a backend runs: services, workload, carbon intensity, outages. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import require, require_list, require_number
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.domain.quantities import plain_values
from pipeline.domain.records import Records
from pipeline.execution.workloads.workload import Workload
from pipeline.planning.problem import Problem

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Service:
    """A model that the fleet serves: its problem, its plan, the inputs of its requests, the answers to them.

    Its name is that of its graph; a run has at most one service per model.
    """

    problem: Problem
    plan: Plan
    inputs: Sequence[torch.Tensor] = ()
    """Tensors that the requests use in turn; empty where the backend does not compute."""
    answers: Sequence[torch.Tensor] = ()
    """The unsplit model's answers to the inputs; empty if the run's answers are not compared with them."""


@dataclass(frozen=True)
class Outage:
    """A period in which a device is down; its tasks and the tensors that it holds are lost."""

    device: str
    at_s: float
    duration_s: float = math.inf

    @classmethod
    def all(cls, outages: Sequence[Mapping[str, Any] | Self], fleet: Fleet) -> tuple[Self, ...]:
        """The outages of a config, a list of mappings. Raises ConfigError naming the invalid entry."""
        require_list("outages", outages, "{device, at_s, duration_s}")
        found = []
        for index, given in enumerate(outages):
            known = isinstance(given, cls) or (
                isinstance(given, Mapping)
                and {"device", "at_s"} <= given.keys() <= {"device", "at_s", "duration_s"}
            )
            require(known, f"outages.{index}: must be {{device, at_s, duration_s}} (it is {given!r})")
            numbers = plain_values(f"outages.{index}", given, ("at_s", "duration_s"))
            outage = given if isinstance(given, cls) else cls(**numbers)
            named = isinstance(outage.device, str)
            require(named, f"outages.{index}.device: must be a name ({outage.device!r})")
            fleet.require_device(f"outages.{index}.device", outage.device)
            require_number(f"outages.{index}", "at_s", outage.at_s, least=0)
            if outage.duration_s != math.inf:
                require_number(f"outages.{index}", "duration_s", outage.duration_s, least=0, above=True)
            found.append(outage)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Job:
    """All inputs of a backend's run. The services share one fleet."""

    services: tuple[Service, ...]
    workload: Workload
    intensity: Intensity
    start_utc: datetime
    outages: tuple[Outage, ...] = ()
    sink: Callable[[Records], object] | None = None
    """Receives the records in parts, each with all rows of its requests; the backend then keeps no rows, and
    returns records without any. None: the records that the backend returns have all rows."""

    @property
    def fleet(self) -> Fleet:
        """The services' fleet."""
        return self.services[0].problem.fleet

    def service_of(self, kind: int) -> int:
        """Index of the service of a class of requests. Raises ConfigError if the run lacks its model."""
        model = self.workload.classes[kind].model
        if model is None:
            return 0
        names = [service.problem.graph.name for service in self.services]
        key = f"workload.classes.{self.workload.classes[kind].name}.model"
        require(model in names, f"{key}: unknown model {model!r} (the run has {', '.join(names)})")
        return names.index(model)
