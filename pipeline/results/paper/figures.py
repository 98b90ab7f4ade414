"""The paper's figures, drawn from the measurements here. Pure.

figures: columns as `measured.measured` returns them; weights: columns as `measured.switches` does.
"""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from pipeline.planning.exact_front import ExactFront
from pipeline.results.paper.configurations import NAMES, SWITCH
from pipeline.results.paper.measured import by_configuration
from pipeline.results.paper.published import published_configurations

_TEXT_POSITIONS = dict(
    zip(
        NAMES,
        ("middle left", "top left", "bottom left", "top right", "bottom right", "top center"),
        strict=True,
    )
)
"""Position of each configuration's name beside its point; some points lie close together."""


def figure_2(figures: pd.DataFrame, model: str) -> go.Figure:
    """Fig. 2: latency against inferences per gram, here and in the paper."""
    drawn = go.Figure()
    sources = {"here": by_configuration(figures, model), "paper": published_configurations(model)}
    for source, rows in sources.items():
        shown = {key: row for key, row in rows.items() if math.isfinite(row.get("latency_ms_mean", math.nan))}
        per_g = [row.get("inferences_per_g", math.nan) for row in shown.values()]
        per_g = [
            each if math.isfinite(each) else 1 / row["carbon_g_per_inf"]
            for each, row in zip(per_g, shown.values(), strict=True)
        ]
        drawn.add_scatter(
            x=[row["latency_ms_mean"] for row in shown.values()], y=per_g, name=source, mode="markers+text",
            text=[NAMES[key] for key in shown], textposition=[_TEXT_POSITIONS[key] for key in shown],
            marker={"size": 10}, cliponaxis=False,
        )  # fmt: skip
    drawn.update_layout(
        template="plotly_white", title=f"Fig. 2, {model}: latency and carbon efficiency",
        xaxis={"title": "mean latency, ms", "type": "log"},
        yaxis={"title": "inferences per gram", "type": "log"},
    )  # fmt: skip
    return drawn


def figure_3(weights: pd.DataFrame) -> go.Figure:
    """Fig. 3: carbon per inference over the carbon weight, by scheduler."""
    drawn = go.Figure()
    for scheduler, own in weights.groupby("scheduler", sort=False):
        name = "the paper's scores" if scheduler == "green" else "scaled to [0, 1]"
        drawn.add_scatter(
            x=own["scheduler.carbon_weight"], y=own["carbon_g_per_inf"] * 1e3, name=name, text=own["devices"],
            mode="lines+markers", line={"shape": "hv"},
        )  # fmt: skip
    drawn.add_vline(x=SWITCH, line_dash="dot", annotation_text="the paper's switch")
    drawn.update_layout(
        template="plotly_white", title="Fig. 3: effect of the carbon weight",
        xaxis={"title": "carbon weight"}, yaxis={"title": "carbon per inference, mg"},
    )  # fmt: skip
    return drawn


def figure_front(front: ExactFront, figures: pd.DataFrame, model: str) -> go.Figure:
    """The exact front over split placements, and the measured configurations."""
    carbon, latency = (front.costs[:, front.objectives.index(name)] for name in ("carbon_g", "latency_s"))
    drawn = go.Figure()
    names = [
        f"cut {', '.join(map(str, p.bounds[1:-1])) or 'none'}: {' → '.join(p.devices)}" for p in front.plans
    ]
    drawn.add_scatter(
        x=latency * 1e3, y=carbon * 1e3, name=f"exact front, {len(front.plans)} plans", text=names,
        mode="lines+markers", line={"shape": "hv"},
    )  # fmt: skip
    rows = by_configuration(figures, model)
    drawn.add_scatter(
        x=[row["latency_ms_mean"] for row in rows.values()],
        y=[row["carbon_g_per_inf"] * 1e3 for row in rows.values()],
        name="measured", text=[NAMES[key] for key in rows], mode="markers+text",
        textposition=[_TEXT_POSITIONS[key] for key in rows], marker={"size": 10}, cliponaxis=False,
    )  # fmt: skip
    drawn.update_layout(
        template="plotly_white", title=f"{model}: the exact front over split placements",
        xaxis={"title": "latency, ms"}, yaxis={"title": "carbon per inference, mg"},
    )  # fmt: skip
    return drawn
