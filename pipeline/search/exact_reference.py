"""The exact front beside a sweep: the regret of its trials, and the front's plans as first trials. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from pipeline.domain.checks import require
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning import pareto
from pipeline.planning.cost import Tables, arrays
from pipeline.planning.exact_front import ExactFront, exact_front
from pipeline.planning.pareto import Points
from pipeline.planning.problem import InvertiblePartitioner, Problem
from pipeline.search.search_space import Point, SearchSpace

COUNTERPARTS: Mapping[str, tuple[str, float]] = {
    "carbon_g_per_inf": ("carbon_g", 1.0),
    "energy_j_per_inf": ("energy_j", 1.0),
    "transfer_bytes_per_inf": ("transfer_bytes", 1.0),
    **{f"latency_ms_{which}": ("latency_s", 1e3) for which in ("mean", "p50", "p95", "p99")},
}
"""A metric as the cost model predicts it: a field of `Cost`, and the factor from its unit to the metric's."""
BESIDE_THE_PROBLEM = frozenset(
    {"paper", "partitioner", "scheduler", "workload", "images", "backend", "meter", "tracking"}
)
"""Parts of the config that may vary without changing the exact front."""
MEASURED_MARGIN = 0.5
"""Share by which the reference point of measured figures is worse than the worst prediction."""


@dataclass(frozen=True, eq=False)
class ExactReference:
    """A problem's exact front under a sweep's objectives, and the reference point of the hypervolume.

    The reference point is fixed before the first trial: in each objective a tenth worse than the worst of the
    exact front and of every device's unsplit plan. A point beyond it adds no hypervolume.
    """

    problem: Problem
    front: ExactFront
    reference: Points
    """One value for each of the front's objectives, in the cost model's units."""
    measured_reference: Points
    """One value for each of the sweep's objectives, in the metrics' units, MEASURED_MARGIN worse."""
    _tables: Tables = field(repr=False)

    @classmethod
    def of(cls, problem: Problem, objectives: Mapping[str, str]) -> Self:
        """Find the front of a problem.

        Raises ConfigError where the cost model cannot predict an objective, where no plan fits, and where all
        plans of the front are equally good in one objective.
        """
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
        """1 - hypervolume of the plans ÷ hypervolume of the exact front, both as predicted: 0 to 1.

        Plans that the search for the exact front leaves out add nothing: those with layers in another order,
        another compression, a stage on auto, or more in a device's memory than fits.
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

    def points(self, space: SearchSpace, partitioner: InvertiblePartitioner) -> dict[int, Point]:
        """The plans of the front that lie in the space, as points in the partitioner's keys.

        By the plan's index in `front.plans`.
        """
        found: dict[int, Point] = {}
        for index, plan in enumerate(self.front.plans):
            entry = self._entry(plan, partitioner)
            if entry.keys() <= space.fixed.keys() | space.dimensions.keys():
                for point in space.points("sweep.warm_start", entry):  # one, or none
                    found[index] = point
        return found

    def _entry(self, plan: Plan, partitioner: InvertiblePartitioner) -> dict[str, object]:
        """The values by config key that make the partitioner return the plan."""
        values = partitioner.settings_for(plan, self._tables.num_layers)
        return {f"partitioner.{key}": value for key, value in values.items()}

    def warm_start(
        self, space: SearchSpace, partitioner: InvertiblePartitioner, enqueued: Sequence[Point], most: int
    ) -> tuple[list[Point], str]:
        """The front's plans as points, without those already enqueued; evenly spread ones if above `most`.

        Also where the others are, in words. Raises ConfigError where the space contains none of the plans, or
        the enqueued points leave no room.
        """
        points = self.points(space, partitioner)
        fewest = min((self._entry(plan, partitioner) for plan in self.front.plans), key=len)
        require(
            len(points) > 0,
            f"the sweep's space holds none of the {len(self.front.plans)} plans of the exact front; for one "
            f"of them {', '.join(fewest)} must vary, or be set to its values",
        )
        fresh = [
            index
            for index, point in points.items()
            if not any(point.items() <= other.items() for other in enqueued)
        ]
        require(
            not fresh or most >= 1,
            f"sweep.enqueue leaves no room in sweep.n_trials ({len(enqueued)} are enqueued)",
        )
        chosen = [points[fresh[row]] for row in pareto.spread(self.front.costs[fresh], most)] if fresh else []
        others = {
            "in sweep.enqueue": len(points) - len(fresh),
            "outside the sweep's space": len(self.front.plans) - len(points),
            "beyond sweep.n_trials": len(fresh) - len(chosen),
        }
        return chosen, ", ".join(f"{count} {where}" for where, count in others.items() if count)
