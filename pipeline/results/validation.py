"""How far predictions are from measurements: random plans, their errors, the figure of both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pipeline.domain.checks import ConfigError, require, require_whole
from pipeline.domain.plan import Plan
from pipeline.domain.records import Records, request_latency_s
from pipeline.execution.devices.profiler import MAX_ERROR
from pipeline.planning.cost import predict, require_connected
from pipeline.planning.problem import Problem

MAX_STAGES = 3
REDRAWS = 1000
"""Plans in a row that may fit no device before the search for one is given up."""


@dataclass(frozen=True)
class Validation:
    """Which plans action=validate runs."""

    plans: int = 50
    requests: int = 10
    """Of each plan; their median latency is compared."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("validation", "plans", self.plans, least=1)
        require_whole("validation", "requests", self.requests, least=1)
        require_whole("validation", "seed", self.seed)

    def draw(self, problem: Problem) -> list[Plan]:
        """Plans of 1 to 3 stages on random devices, drawn again where a stage fits no device's memory.

        Raises ConfigError where nothing fits.
        """
        random = np.random.default_rng(self.seed)
        return [_random_plan(problem, random) for _ in range(self.plans)]


def _random_plan(problem: Problem, random: np.random.Generator) -> Plan:
    num_layers, names = len(problem.graph), list(problem.fleet.by_name)
    reason = ""
    for _ in range(REDRAWS):
        stages = int(random.integers(1, min(MAX_STAGES, num_layers) + 1))
        cuts = random.choice(np.arange(1, num_layers), stages - 1, replace=False)
        bounds = (0, *sorted(int(cut) for cut in cuts), num_layers)
        devices = [str(name) for name in random.choice(names, stages)]
        try:
            plan = problem.plan(bounds, devices)
            require_connected(problem, plan)
            return plan
        except ConfigError as error:
            reason = str(error)
    raise ConfigError(f"validation: none of {REDRAWS} random plans fits the fleet (the last: {reason})")


def comparison(problem: Problem, runs: Iterable[tuple[Plan, Records]]) -> pd.DataFrame:
    """One row a plan: cuts, devices, predicted_ms, measured_ms (median of its requests), error, host_drift.

    error = measured ÷ predicted - 1.
    """
    plans, records = zip(*runs, strict=True)
    predicted_ms = predict(problem, plans).latency_s * 1e3
    measured_ms = np.array([request_latency_s(run).median() * 1e3 for run in records])
    return pd.DataFrame(
        {
            "cuts": [", ".join(map(str, plan.bounds[1:-1])) or "none" for plan in plans],
            "devices": [" → ".join(plan.devices) for plan in plans],
            "predicted_ms": predicted_ms,
            "measured_ms": measured_ms,
            "error": measured_ms / predicted_ms - 1,
            "host_drift": [run.host_drift for run in records],
        }
    )


def prediction_errors(table: pd.DataFrame) -> dict[str, float]:
    """Median and 95th percentile of |error| over the plans of a comparison, in percent."""
    errors = table["error"].abs().to_numpy() * 100
    require(len(errors) > 0 and bool(np.isfinite(errors).all()), "validation: a plan answered no request")
    return {f"prediction_error_p{p}": float(np.percentile(errors, p)) for p in (50, 95)}


def scatter(table: pd.DataFrame, title: str) -> go.Figure:
    """Measured over predicted latency, one point a plan, between the lines of ±15%."""
    errors = prediction_errors(table)
    ends = np.array([table[["predicted_ms", "measured_ms"]].min().min() / 1.2,
                     table[["predicted_ms", "measured_ms"]].max().max() * 1.2])  # fmt: skip
    figure = go.Figure()
    band: Sequence[tuple[str, float]] = (("", 1 - MAX_ERROR), (f"±{MAX_ERROR:.0%}", 1 + MAX_ERROR))
    for name, factor in band:
        figure.add_scatter(
            x=ends, y=ends * factor, mode="lines", name=name, showlegend=bool(name), hoverinfo="skip",
            line={"width": 0}, fill="tonexty" if name else None, fillcolor="rgba(120, 120, 120, 0.18)",
        )  # fmt: skip
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="as predicted",
        hoverinfo="skip",
        line={"color": "grey", "width": 1},
    )
    figure.add_scatter(
        x=table["predicted_ms"], y=table["measured_ms"], mode="markers", name="plans", marker={"size": 8},
        text=table["devices"] + "<br>cuts " + table["cuts"], customdata=table["error"] * 100,
        hovertemplate="%{text}<br>predicted %{x:.2f} ms<br>measured %{y:.2f} ms (%{customdata:+.1f}%)"
        "<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        template="plotly_white",
        title=f"{title}: median error {errors['prediction_error_p50']:.1f}%, "
        f"95th percentile {errors['prediction_error_p95']:.1f}%",
        xaxis={"title": "Predicted latency, ms", "type": "log"},
        yaxis={"title": "Measured latency, ms", "type": "log"},
    )
    return figure
