"""The waterfall figure of a comparison: from A's carbon to B's, effect by effect. Pure."""

from __future__ import annotations

import plotly.graph_objects as go

from pipeline.carbon.decomposition import EFFECTS, effects
from pipeline.results.comparison.side import Side
from pipeline.results.figures.front_shapes import BLUE, GREY, ORANGE
from pipeline.results.units import number, scaled_label


def waterfall(a: Side, b: Side) -> go.Figure:
    """Bars: A's carbon per inference, each effect that is not 0, B's carbon per inference."""
    found = effects(a.footprint, b.footprint)
    title, factor = scaled_label("carbon_g_per_inf", [a.footprint.total_g, b.footprint.total_g])
    steps = [key for key in EFFECTS if found[key]]
    values = [a.footprint.total_g, *(found[key] for key in steps), b.footprint.total_g]
    figure = go.Figure(
        go.Waterfall(
            x=[a.name, *(f"by {key}" for key in steps), b.name],
            y=[value * factor for value in values],
            measure=["absolute", *["relative"] * len(steps), "total"],
            text=[number(value * factor) for value in values],
            connector={"line": {"color": GREY}},
            increasing={"marker": {"color": ORANGE}},
            decreasing={"marker": {"color": BLUE}},
            totals={"marker": {"color": GREY}},
        )
    )
    figure.update_layout(title=f"{b.name} against {a.name}", yaxis_title=title, template="plotly_white")
    return figure
