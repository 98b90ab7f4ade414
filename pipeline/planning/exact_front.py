"""The exact Pareto front of partition and placement under the cost model, and the choice of a plan. Pure.

`pipeline.planning.enumeration` prices all plans where there are few; else `pipeline.planning.label_setting`
computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.domain.checks import ConfigError, require, size_text
from pipeline.domain.plan import Plan
from pipeline.planning import pareto
from pipeline.planning.cost import Floats, Ints, Tables
from pipeline.planning.enumeration import all_plans, has_few_plans
from pipeline.planning.label_setting.front import front_arrays
from pipeline.planning.label_setting.plan_arrays import non_dominated
from pipeline.planning.label_setting.rules import PlanRules
from pipeline.planning.problem import Problem

OBJECTIVES = ("carbon_g", "latency_s", "energy_j", "transfer_bytes", "period_s")
"""Fields of Cost that can be objectives; all are minimised (1 / period_s is the throughput)."""


@dataclass(frozen=True)
class ExactFront:
    """The plans that no other plan dominates, one for each vector of costs, sorted by the first objective."""

    objectives: tuple[str, ...]
    plans: tuple[Plan, ...]
    costs: Floats = field(repr=False)
    """(plans, objectives), as `pipeline.planning.cost.predict` computes them."""

    def knee(self) -> Plan:
        """The best compromise (see `pipeline.planning.pareto.knee`)."""
        return self.plans[pareto.knee(self.costs)]

    def weighted(self, weights: Mapping[str, float]) -> Plan:
        """The plan with the least weighted sum of the objectives, each scaled so that the front spans [0, 1].

        Raises ConfigError for an unknown objective, and unless all weights are >= 0 and one is above 0.
        """
        _require_known("weights", weights, self.objectives)
        total = [float(weights.get(name, 0.0)) for name in self.objectives]
        require(
            all(np.isfinite(w) and w >= 0 for w in total) and sum(total) > 0,
            f"weights: must be numbers >= 0, at least one above 0 (weights: {dict(weights)})",
        )
        low, high = self.costs.min(axis=0), self.costs.max(axis=0)
        scaled = (self.costs - low) / np.where(high > low, high - low, 1.0)
        return self.plans[int((scaled @ np.array(total)).argmin())]

    def least(self, objective: str, limits: Mapping[str, float]) -> Plan:
        """The plan with the least of an objective among those within limits (ε-constraint).

        Raises ConfigError for an unknown objective, and where no plan is within the limits, naming the limit
        that is missed by most, and by how much.
        """
        _require_known("minimize", [objective], self.objectives)
        _require_known("limits", limits, self.objectives)
        bounds = np.array([float(limits.get(name, np.inf)) for name in self.objectives])
        for name, bound in zip(self.objectives, bounds, strict=True):
            require(not np.isnan(bound), f"limits.{name}: must be a number ({limits.get(name)!r})")
        within = self.costs <= bounds
        allowed = np.flatnonzero(within.all(axis=1))
        if not len(allowed):
            raise ConfigError(self._out_of_reach(bounds))
        column = self.costs[allowed, self.objectives.index(objective)]
        return self.plans[int(allowed[column.argmin()])]

    def _out_of_reach(self, bounds: Floats) -> str:
        """A message about the limit that the nearest plan misses by the largest share."""
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(self.costs > bounds, (self.costs - bounds) / np.abs(bounds), 0.0)
        nearest = int(excess.max(axis=1).argmin())
        worst = int(excess[nearest].argmax())
        name, value, bound = self.objectives[worst], self.costs[nearest, worst], bounds[worst]
        others = [
            f"{other} <= {limit:.4g}"
            for other, limit in zip(self.objectives, bounds, strict=True)
            if other != name and np.isfinite(limit)
        ]
        given = f" with {' and '.join(others)}" if others else ""
        return (
            f"limits.{name}: no plan reaches {bound:.4g}{given}; the nearest has {value:.4g}, "
            f"{value - bound:.4g} above the limit"
        )


def require_objectives(key: str, objectives: Sequence[str]) -> None:
    """Raise ConfigError unless these are one to three different OBJECTIVES."""
    _require_known(key, objectives, OBJECTIVES)
    require(
        1 <= len(objectives) <= 3 and len(set(objectives)) == len(objectives),
        f"{key}: must be one to three different objectives ({list(objectives)})",
    )


def exact_front(
    problem: Problem,
    objectives: Sequence[str] = ("carbon_g", "latency_s"),
    *,
    distinct: bool = False,
    memory: bool = True,
    max_stages: int | None = None,
) -> ExactFront:
    """The front of two or three objectives (or the best plan for one) over all cuts and placements.

    distinct: each device holds one stage at most; else the period counts all stages of a device, and all uses
    of a link, together. memory: plans must fit the devices' memory. Raises ConfigError for invalid arguments,
    if no plan obeys the rules, naming the tightest, and if the search needs too many partial plans.
    """
    require_objectives("objectives", objectives)
    require(
        max_stages is None or max_stages >= 1, f"max_stages: must be at least 1 (max_stages: {max_stages})"
    )
    tables = Tables.of(problem)
    # A limit above the number of layers has no effect, and the search keeps a table for each stage.
    limit = max_stages if max_stages is not None and max_stages < tables.num_layers else None
    rules = PlanRules(distinct, memory, limit)
    if has_few_plans(tables, rules):
        bounds, where, costs = non_dominated(tables, tuple(objectives), *all_plans(tables, rules))
    else:
        bounds, where, costs = front_arrays(tables, tuple(objectives), rules)
    if not len(bounds):
        raise ConfigError(why_none(problem, tables, rules))
    plans = tuple(_plan(problem, tables, *row) for row in zip(bounds, where, strict=True))
    return ExactFront(tuple(objectives), plans, costs)


def _plan(problem: Problem, tables: Tables, bounds: Ints, where: Ints) -> Plan:
    stages = int((bounds[1:] > bounds[:-1]).sum())
    names = tuple(tables.names[device] for device in where[:stages])
    return Plan(tuple(int(b) for b in bounds[: stages + 1]), names, compression=problem.compression)


def _require_known(key: str, names: Sequence[str] | Mapping[str, float], known: Sequence[str]) -> None:
    for name in names:
        require(name in known, f"{key}: unknown {name!r} (known: {', '.join(known)})")


def why_none(problem: Problem, tables: Tables, rules: PlanRules) -> str:
    """A message with the reason why no plan obeys the rules: the tightest one."""
    layer_bytes = np.diagonal(tables.stage_bytes, 1)
    roomiest = int(tables.memory_bytes.argmax())
    room, hungriest = tables.memory_bytes[roomiest], int(layer_bytes.argmax())
    if rules.memory and layer_bytes[hungriest] > room:
        return (
            f"fleet.devices.{tables.names[roomiest]}.memory_bytes: layer {hungriest} "
            f"({problem.graph.layers[hungriest].name}) needs "
            f"{size_text(layer_bytes[hungriest])} and this device, the largest, has {size_text(room)}, "
            f"{size_text(layer_bytes[hungriest] - room)} short"
        )
    need, held = tables.stage_bytes[0, -1], tables.memory_bytes.sum()
    if not rules.memory or need <= room:
        return (
            f"fleet.links: no device that can hold {problem.graph.name} can be reached from "
            f"{problem.fleet.source}, where requests arrive"
        )
    stages = f" in at most {rules.max_stages} stages" if rules.max_stages else ""
    once = ", each device at most once" if rules.distinct else ""
    return (
        f"fleet.devices.*.memory_bytes: no plan fits the connected devices{stages}{once}: "
        f"{problem.graph.name} needs {size_text(need)} on one device ({tables.names[roomiest]} has "
        f"{size_text(room)}, {size_text(need - room)} short), and the fleet has {size_text(held)} in all"
    )
