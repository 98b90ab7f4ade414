"""A mixed-integer linear program that is built term by term. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize

from pipeline.execution.hindsight.schedule_problem import Floats

Terms = Sequence[tuple[int, float]]
"""Variables and their factors; the factors of a variable that occurs several times add up."""


class MixedIntegerProgram:
    """Minimise a cost over variables >= 0, some of them integer, under linear constraints."""

    def __init__(self) -> None:
        self._cost: list[float] = []
        self._most: list[float] = []
        self._whole: list[bool] = []
        self._rows: list[Mapping[int, float]] = []
        self._least_of_rows: list[float] = []

    def variable(self, cost: float = 0.0, most: float = math.inf, *, whole: bool = False) -> int:
        """Add a variable from 0 to `most` (whole: an integer one); returns its index."""
        self._cost.append(cost)
        self._most.append(most)
        self._whole.append(whole)
        return len(self._cost) - 1

    def require(self, terms: Terms, least: float) -> None:
        """Require the sum of factor * variable to be at least `least`."""
        row: dict[int, float] = {}
        for variable, factor in terms:
            row[variable] = row.get(variable, 0.0) + factor
        self._rows.append(row)
        self._least_of_rows.append(least)

    def solve(self) -> tuple[float, Floats | None]:
        """The least cost and the values, (variables,); infinite and None if no values are feasible."""
        matrix = np.zeros((len(self._rows), len(self._cost)))
        for k, row in enumerate(self._rows):
            matrix[k, list(row)] = list(row.values())
        # With its presolve, HiGHS in SciPy 1.17 calls a schedule "optimal" that emits up to 16 times as much,
        # in one of some 200 problems.
        found = optimize.milp(
            np.array(self._cost),
            integrality=np.array(self._whole, dtype=int),
            bounds=optimize.Bounds(0, np.array(self._most)),
            constraints=optimize.LinearConstraint(matrix, np.array(self._least_of_rows), np.inf),
            options={"mip_rel_gap": 1e-9, "presolve": False},
        )
        return (math.inf, None) if found.x is None else (float(found.fun), found.x)
