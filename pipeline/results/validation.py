"""Predicted latency against measured: which random plans to run, and the errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pipeline.domain.checks import require, require_seed, require_whole
from pipeline.domain.plan import Plan
from pipeline.domain.records import Records, request_latency_s
from pipeline.planning.cost import predict
from pipeline.planning.first_feasible import first_feasible
from pipeline.planning.problem import Problem

MAX_STAGES = 3
"""Largest number of stages of a random plan."""
MOST_PLANS = 100_000
"""Most plans that can be meant."""


@dataclass(frozen=True)
class Validation:
    """Which random plans `action=validate` runs.

    Raises ConfigError where a field is not a whole number, is too small or too large.
    """

    plans: int = 50
    requests: int = 10
    """Number of requests of each plan; their median latency is compared."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("validation", "plans", self.plans, least=1, most=MOST_PLANS)
        require_whole("validation", "requests", self.requests, least=1)
        require_seed("validation", self.seed)

    def draw(self, problem: Problem) -> list[Plan]:
        """Random plans of 1 to MAX_STAGES stages on random devices, all of which fit the fleet.

        Raises ConfigError where 1,000 draws for a plan do not fit.
        """
        random = np.random.default_rng(self.seed)
        draw = partial(_random_plan, problem, random)
        return [first_feasible("validation", problem, draw) for _ in range(self.plans)]


def _random_plan(problem: Problem, random: np.random.Generator) -> Plan:
    """A random plan. Raises ConfigError if it does not fit memory."""
    num_layers, names = len(problem.graph), list(problem.fleet.by_name)
    stages = int(random.integers(1, min(MAX_STAGES, num_layers) + 1))
    cuts = random.choice(np.arange(1, num_layers), stages - 1, replace=False)
    bounds = (0, *sorted(int(cut) for cut in cuts), num_layers)
    return problem.plan(bounds, [str(name) for name in random.choice(names, stages)])


def comparison(problem: Problem, runs: Iterable[tuple[Plan, Records]]) -> pd.DataFrame:
    """A table of plans and the records of their runs: one row a plan.

    Columns: `stages`, their number; `cuts`, `devices`, as text; `predicted_ms`; `measured_ms`, the median of
    the plan's requests; `error` = measured ÷ predicted - 1; `inside`, whether it is within the prediction's
    interval; `host_drift`.
    """
    plans, records = zip(*runs, strict=True)
    predicted_ms = predict(problem, plans).latency_s * 1e3
    measured_ms = np.array([request_latency_s(run).median() * 1e3 for run in records])
    error = measured_ms / predicted_ms - 1
    expected = [problem.profile.prediction_error(plan.devices) for plan in plans]
    return pd.DataFrame(
        {
            "stages": [plan.num_stages for plan in plans],
            "cuts": [", ".join(map(str, plan.bounds[1:-1])) or "none" for plan in plans],
            "devices": [" → ".join(plan.devices) for plan in plans],
            "predicted_ms": predicted_ms,
            "measured_ms": measured_ms,
            "error": error,
            "inside": np.abs(error) <= [np.nan if each is None else each for each in expected],
            "host_drift": [run.host_drift for run in records],
        }
    )


def prediction_errors(table: pd.DataFrame) -> dict[str, float]:
    """How far predictions are from measurements over the plans of a `comparison`, in percent, by metric key.

    The keys: median and 95th percentile of |error|, and the share of plans inside their interval.

    Raises ConfigError where a plan has no error, because it answered no request.
    """
    errors = table["error"].abs().to_numpy() * 100
    require(len(errors) > 0 and bool(np.isfinite(errors).all()), "validation: a plan answered no request")
    found = {f"prediction_error_p{p}": float(np.percentile(errors, p)) for p in (50, 95)}
    return found | {"predictions_inside": 100 * float(table["inside"].mean())}


def errors_by_stages(table: pd.DataFrame) -> dict[str, str]:
    """Median and 95th percentile of |error|, and the median error with its sign, by number of stages."""
    found = {}
    for stages, rows in table.groupby("stages"):
        middle, high = np.percentile(rows["error"].abs() * 100, [50, 95])
        text = f"{middle:.1f}, p95 {high:.1f}, with its sign {rows['error'].median() * 100:+.1f}"
        found[f"median error (%) of {len(rows)} plans of {stages} stage{'s' * (stages != 1)}"] = text
    return found
