"""One plan of the exact front (`pipeline.planning.exact_front`): by limits, by weights or the knee. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from partitioners.settings import require_flag
from pipeline.domain.checks import (
    ConfigError,
    require,
    require_list,
    require_mapping,
    require_number,
    require_whole,
)
from pipeline.domain.plan import Plan
from pipeline.planning.cost import predict
from pipeline.planning.exact_front import OBJECTIVES, exact_front, require_objectives
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Exact:
    """A plan of the exact front under the cost model.

    With `minimize`, the plan with the least of that objective within `limits`, such as {latency_s: 0.08}
    ("least carbon with at most 80 ms"); with `weights`, the plan with the least weighted sum of the
    objectives, each scaled to [0, 1] over the front; with neither, the knee. Raises ConfigError naming a
    bad key.
    """

    objectives: Sequence[str] = ("carbon_g", "latency_s")
    minimize: str | None = None
    limits: Mapping[str, float | None] = field(default_factory=dict)
    weights: Mapping[str, float | None] = field(default_factory=dict)
    """Weight by objective; null: none."""
    max_slowdown: float | None = None
    """Upper limit of latency ÷ latency of the unsplit model on the fleet's `monolithic` device."""
    distinct: bool = False
    """Whether each device holds at most one stage."""
    memory: bool = True
    """Whether plans must fit the devices' memory."""
    max_stages: int | None = None

    def __post_init__(self) -> None:
        self._require_objectives()
        if self.max_stages is not None:
            require_whole("partitioner", "max_stages", self.max_stages, least=1)
        for key in ("limits", "weights"):
            self._require_numbers(key)
        if self.max_slowdown is not None:
            require_number("partitioner", "max_slowdown", self.max_slowdown, least=0, above=True)
            require(
                "latency_s" in self.objectives,
                f"partitioner.max_slowdown: add latency_s to partitioner.objectives ({self.objectives})",
            )
        self._require_one_choice()

    def _require_objectives(self) -> None:
        require_list("partitioner.objectives", self.objectives, "names")
        require(
            all(isinstance(name, str) for name in self.objectives),
            f"partitioner.objectives: must be a list of names (it is {self.objectives!r})",
        )
        for name in ("distinct", "memory"):
            require_flag(name, getattr(self, name))
        require_objectives("partitioner.objectives", self.objectives)

    def _require_numbers(self, key: str) -> None:
        """Raise ConfigError unless `limits` or `weights` map objectives to numbers >= 0 or null."""
        given = getattr(self, key)
        require_mapping(f"partitioner.{key}", given, "objectives to numbers")
        for name, value in given.items():
            if value is None:
                continue
            require(
                name in self.objectives,
                f"partitioner.{key}.{name}: add {name} to partitioner.objectives "
                f"({', '.join(self.objectives)})",
            )
            require_number(f"partitioner.{key}", name, value, least=0)

    def _require_one_choice(self) -> None:
        """Raise ConfigError for `limits` without `minimize`, and for `weights` with it."""
        require(
            self.minimize is None or self.minimize in self.objectives,
            f"partitioner.minimize: add {self.minimize!r} to partitioner.objectives "
            f"({', '.join(self.objectives)})",
        )
        limits = (*self.limits.values(), self.max_slowdown)
        require(
            self.minimize is not None or all(value is None for value in limits),
            f"partitioner.limits: set partitioner.minimize as well (one of {', '.join(OBJECTIVES)})",
        )
        require(
            self.minimize is None or all(value is None for value in self.weights.values()),
            "partitioner.weights: give either weights or minimize",
        )

    def partition(self, problem: Problem) -> Plan:
        """The plan of the front that the settings select.

        Raises ConfigError if no plan fits memory, and if none is within the limits, naming the limit that is
        missed by most.
        """
        front = exact_front(
            problem, self.objectives, distinct=self.distinct, memory=self.memory, max_stages=self.max_stages
        )
        limits = {name: value for name, value in self.limits.items() if value is not None}
        if self.max_slowdown is not None:
            limit_s = self.max_slowdown * self._monolithic_s(problem)
            limits["latency_s"] = min(limit_s, limits.get("latency_s", limit_s))
        weights = {name: value for name, value in self.weights.items() if value is not None}
        try:
            if self.minimize is not None:
                return front.least(self.minimize, limits)
            return front.weighted(weights) if weights else front.knee()
        except ConfigError as error:
            raise ConfigError(f"partitioner.{error}") from error

    def _monolithic_s(self, problem: Problem) -> float:
        device = problem.fleet.monolithic
        if device is None:
            raise ConfigError("partitioner.max_slowdown: the fleet names no device as fleet.monolithic")
        return float(predict(problem, [Plan((0, len(problem.graph)), (device,))]).latency_s[0])
