"""The trials of each scheduler as a figure, and the least carbon that an oracle finds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from pipeline.results.figures.front_figure import hover
from pipeline.results.front import Front


def schedulers_figure(
    trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]
) -> go.Figure | None:
    """The trials by scheduler, over the first two objectives; None for fewer than two of either.

    trials: one row a trial, columns as `Front.of` takes them, and `scheduler`. Where carbon is an objective
    and `regret_to_oracle`, `carbon_dynamic_g` and `requests_ok` are known, the least possible carbon of each
    trial is drawn too.
    """
    if len(objectives) < 2 or "scheduler" not in trials or trials["scheduler"].nunique() < 2:
        return None
    front = Front.of(trials, objectives[:2], directions[:2])
    (x, y), (x_title, x_factor), (y_title, y_factor) = front.objectives, front.axis(0), front.axis(1)
    figure = go.Figure(layout={"xaxis_title": x_title, "yaxis_title": y_title})
    for name, rows in front.trials.groupby("scheduler"):
        figure.add_scatter(
            x=rows[x] * x_factor,
            y=rows[y] * y_factor,
            name=str(name),
            mode="lines+markers",
            line={"width": 1},
            marker={"size": 9},
            hoverinfo="text",
            hovertext=hover(rows, front.objectives),
        )
    least = _least(front.trials) if "carbon_g_per_inf" in front.objectives else front.trials[:0]
    if len(least):
        figure.add_scatter(
            x=least[x] * x_factor,
            y=least[y] * y_factor,
            name="least possible with<br>as many late (oracle)",
            mode="markers",
            marker={"size": 8, "symbol": "diamond-open", "color": "#333333"},
            hoverinfo="text",
            hovertext=hover(least, front.objectives),
        )
    figure.update_layout(title="Schedulers", template="plotly_white", hoverlabel={"bgcolor": "white"})
    return figure


def _least(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials whose regret is known, with the least possible carbon instead of their own."""
    needed = ["regret_to_oracle", "carbon_dynamic_g", "requests_ok"]
    if not {*needed} <= {*trials.columns}:
        return trials[:0]
    known = trials[trials["regret_to_oracle"].notna()]
    grams = known.reindex(columns=["carbon_dynamic_g", "carbon_network_g"]).sum(axis=1)
    avoidable_g = grams * (1 - 1 / (1 + known["regret_to_oracle"])) / known["requests_ok"]
    return known.assign(carbon_g_per_inf=known["carbon_g_per_inf"] - avoidable_g)
