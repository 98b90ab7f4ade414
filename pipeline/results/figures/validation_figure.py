"""Measured over predicted latency of random plans, as a figure. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pipeline.execution.devices.profiler import MAX_ERROR
from pipeline.results.validation import prediction_errors


def validation_figure(table: pd.DataFrame, title: str) -> go.Figure:
    """Measured over predicted latency, one point a plan, over the band of ±MAX_ERROR.

    table: columns as `validation.comparison` returns them. Raises ConfigError as `prediction_errors` does.
    """
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
