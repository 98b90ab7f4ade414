"""The exact front as a sweep's yardstick: how far trials are from it, its plans as first trials. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from pipeline.domain.checks import require
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning import pareto
from pipeline.planning.cost import Tables, arrays
from pipeline.planning.exact_front import ExactFront, exact_front
from pipeline.planning.pareto import Points
from pipeline.planning.problem import Problem
from pipeline.search.search_space import Point, SearchSpace

COUNTERPARTS: Mapping[str, tuple[str, float]] = {
    "carbon_g_per_inf": ("carbon_g", 1.0),
    "energy_j_per_inf": ("energy_j", 1.0),
    "transfer_bytes_per_inf": ("transfer_bytes", 1.0),
    **{f"latency_ms_{which}": ("latency_s", 1e3) for which in ("mean", "p50", "p95", "p99")},
}
"""What the cost model says of a metric: a field of `Cost`, and the factor from its unit to the metric's."""
MEASURED_MARGIN = 0.5
"""How much worse than the worst prediction a measured figure may be before it adds no hypervolume."""


@dataclass(frozen=True, eq=False)
class ExactReference:
    """A problem's exact front under a sweep's objectives, and the reference point of all its trials.

    The reference is fixed before the first trial: of the exact front and every device's unsplit plan, the
    worst, a tenth worse still. What is beyond it adds nothing.
    """

    problem: Problem
    front: ExactFront
    reference: Points
    """By the front's objectives."""
    measured_reference: Points
    """By the sweep's objectives, in the metrics' units: worst prediction × (1 + MEASURED_MARGIN)."""
    _tables: Tables = field(repr=False)

    @classmethod
    def of(cls, problem: Problem, objectives: Mapping[str, str]) -> Self:
        """Find the front. Raises ConfigError where the cost model does not know an objective, or no plan."""
        for key, direction in objectives.items():
            require(
                key in COUNTERPARTS and direction == "minimize",
                f"the cost model cannot {direction} {key} (it can minimize {', '.join(COUNTERPARTS)})",
            )
        pairs = [COUNTERPARTS[key] for key in objectives]
        names = list(dict.fromkeys(name for name, _ in pairs))
        front = exact_front(problem, names)
        tables = Tables.of(problem)
        unsplit = [Plan((0, tables.num_layers), (device,)) for device in tables.names]
        known = np.concatenate([front.costs, tables.cost(*arrays(tables, unsplit)).columns(names)])
        reference = pareto.reference_point(known)
        require(
            pareto.hypervolume(front.costs, reference) > 0,
            f"every plan of the exact front is as good as the worst in one of {', '.join(names)}",
        )
        far = pareto.reference_point(known, MEASURED_MARGIN)
        measured = np.array([far[names.index(name)] * factor for name, factor in pairs])
        return cls(problem, front, reference, measured, tables)

    def regret(self, plans: Sequence[Plan]) -> float:
        """1 - hypervolume of the plans ÷ that of the exact front, both as the cost model tells them: 0 to 1.

        Plans among which the exact front was not sought add nothing: with layers in an order of their own,
        another compression, a stage on auto, or more in a device's memory than it has.
        """
        chains = [
            plan
            for plan in plans
            if not plan.order and plan.compression == self.problem.compression and AUTO not in plan.devices
        ]
        if not chains:
            return 1.0
        bounds, where = arrays(self._tables, chains)
        fits = (self._tables.memory_need_bytes(bounds, where) <= self._tables.memory_bytes).all(axis=1)
        costs = self._tables.cost(bounds, where).columns(self.front.objectives)[fits]
        best = pareto.hypervolume(self.front.costs, self.reference)
        return max(0.0, 1 - pareto.hypervolume(costs, self.reference) / best)

    def points(self, space: SearchSpace) -> dict[int, Point]:
        """The plans of the front that lie in the space, by their place on the front.

        They are said as `partitioner=explicit` takes them: a cut is bound ÷ layers, which it rounds back to
        the very bound.
        """
        num_layers = self._tables.num_layers
        found: dict[int, Point] = {}
        for index, plan in enumerate(self.front.plans):
            entry: dict[str, Any] = {"partitioner.stages": plan.num_stages}
            entry |= {f"partitioner.cuts.{i}": b / num_layers for i, b in enumerate(plan.bounds[1:-1])}
            entry |= {f"partitioner.devices.{i}": device for i, device in enumerate(plan.devices)}
            if entry.keys() <= space.fixed.keys() | space.dimensions.keys():
                for point in space.points("sweep.warm_start", entry):  # one, or none
                    found[index] = point
        return found

    def warm_start(self, space: SearchSpace, enqueued: Sequence[Point], most: int) -> list[Point]:
        """The front's plans as points, without those already enqueued; evenly spread ones if above `most`.

        Raises ConfigError where the space holds none of them, or what is enqueued leaves no room.
        """
        points = self.points(space)
        require(
            len(points) > 0,
            f"the sweep's space holds none of the {len(self.front.plans)} plans of the exact front; it must"
            " have partitioner.stages, and partitioner.cuts.* and partitioner.devices.* for each stage",
        )
        fresh = [
            index
            for index, point in points.items()
            if not any(point.items() <= other.items() for other in enqueued)
        ]
        if not fresh:
            return []
        require(most >= 1, f"sweep.enqueue leaves no room in sweep.n_trials ({len(enqueued)} are enqueued)")
        return [points[fresh[row]] for row in pareto.spread(self.front.costs[fresh], most)]
