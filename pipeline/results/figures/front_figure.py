"""The front of a sweep as an interactive figure. Pure: data in, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly import colors

from pipeline.results.figures.front_shapes import (
    BLUE,
    GREY,
    ORANGE,
    REGION,
    best_so_far,
    front_region,
    reach,
    trial_numbers,
)
from pipeline.results.front import Front
from pipeline.results.units import PLAN, scaled, scaled_label, text


def front_figure(trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> go.Figure:
    """An interactive figure of a sweep, whose points show the plan and the objectives on hover.

    trials: one row a trial, columns as `Front.of` takes them. One objective: its history. Two: the front,
    with 95% intervals and the region between their ends, where known. Three: a 3D plot, with intervals.
    More: all pairs.
    """
    front = Front.of(trials, objectives, directions)
    draw = {1: _plotly_history, 2: _plotly_front, 3: _plotly_space}.get(len(objectives), _plotly_pairs)
    figure = draw(front)
    figure.update_layout(
        title=front.title,
        template="plotly_white",
        hoverlabel={"bgcolor": "white"},
    )
    return figure


def hover(trials: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    """The text that a figure shows on hover, one a trial; columns of `trials`: objectives, those of PLAN."""
    scales = [(*scaled_label(key, trials[key]), key) for key in objectives]
    known = [column for column in PLAN if column in trials]
    return [
        "<br>".join(
            [f"{PLAN[column]}: {text(row[column])}" for column in known]
            + [f"<b>{title}: {scaled(factor, row[key])}</b>" for title, factor, key in scales]
        )
        for row in trials.to_dict("records")
    ]


def _plotly_groups(front: Front) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """Other trials, front, knee: the rows of each, and the arguments that its traces share."""
    members = front.members
    looks = [
        ("other trials", front.others, {"color": GREY, "size": 7, "opacity": 0.5}),
        ("front", members, {"color": BLUE, "size": 10}),
        ("knee", members[members["knee"]], {"color": ORANGE, "size": 15, "symbol": "diamond"}),
    ]
    return [
        (
            rows,
            {
                "name": name,
                "marker": marker,
                "hoverinfo": "text",
                "hovertext": hover(rows, front.objectives),
            },
        )
        for name, rows, marker in looks
    ]


def _plotly_front(front: Front) -> go.Figure:
    x, y = front.objectives
    (x_title, x_factor), (y_title, y_factor) = front.axis(0), front.axis(1)
    figure = go.Figure(layout={"xaxis_title": x_title, "yaxis_title": y_title})
    for rows, common in _plotly_groups(front):
        if common["name"] == "front":
            common |= {"mode": "lines+markers", "line": {"color": BLUE, "shape": "hv"}}
            for axis, key, factor in (("error_x", x, x_factor), ("error_y", y, y_factor)):
                if (around := reach(rows, key, factor)) is not None:
                    common[axis] = {"array": around["above"], "arrayminus": around["below"], "thickness": 1}
        else:
            common |= {"mode": "markers"}
        figure.add_scatter(x=rows[x] * x_factor, y=rows[y] * y_factor, **common)
    if (region := front_region(front)) is not None:
        figure.add_scatter(
            x=region[:, 0] * x_factor, y=region[:, 1] * y_factor, name=REGION, mode="lines", fill="toself",
            line={"width": 0}, fillcolor=BLUE, opacity=0.12, hoverinfo="skip",
        )  # fmt: skip
    return figure


def overlay_figure(fronts: Mapping[str, Front]) -> go.Figure:
    """Fronts of the same two objectives, by name, with their other trials; a click on a name hides it."""
    any_front = next(iter(fronts.values()))
    whole = replace(any_front, trials=pd.concat([front.trials for front in fronts.values()]))
    (x_title, x_factor), (y_title, y_factor) = whole.axis(0), whole.axis(1)
    x, y = any_front.objectives
    figure = go.Figure(layout={"xaxis_title": x_title, "yaxis_title": y_title, "template": "plotly_white"})
    for index, (name, front) in enumerate(fronts.items()):
        colour = colors.qualitative.Safe[index % len(colors.qualitative.Safe)]
        dots = {"mode": "markers", "marker": {"size": 6, "opacity": 0.35, "color": colour}}
        steps = {"mode": "lines+markers", "line": {"shape": "hv", "color": colour}, "marker": {"size": 10}}
        for rows, look in ((front.others, dots), (front.members, steps)):
            figure.add_scatter(
                x=rows[x] * x_factor, y=rows[y] * y_factor, name=name, legendgroup=name,
                showlegend=look is steps, hoverinfo="text", hovertext=hover(rows, front.objectives), **look,
            )  # fmt: skip
    figure.update_layout(title=f"{len(fronts)} fronts")
    return figure


def _plotly_history(front: Front) -> go.Figure:
    (key,) = front.objectives
    title, factor = front.axis(0)
    figure = go.Figure(layout={"xaxis_title": "Trial", "yaxis_title": title})
    numbers, best = best_so_far(front)
    figure.add_scatter(x=numbers, y=best * factor, name="best so far", line={"color": BLUE, "shape": "hv"})
    for rows, common in _plotly_groups(front)[:2]:
        common["name"] = "best" if common["name"] == "front" else "trials"
        figure.add_scatter(x=trial_numbers(rows), y=rows[key] * factor, mode="markers", **common)
    return figure


def _plotly_space(front: Front) -> go.Figure:
    axes = [front.axis(index) for index in range(3)]
    scene = {f"{name}axis_title": title for name, (title, _) in zip("xyz", axes, strict=True)}
    figure = go.Figure(layout={"scene": scene})
    for rows, common in _plotly_groups(front):
        common["marker"]["size"] *= 0.5
        values = {
            name: rows[key] * factor
            for name, key, (_, factor) in zip("xyz", front.objectives, axes, strict=True)
        }
        if common["name"] == "front":
            for name, key, (_, factor) in zip("xyz", front.objectives, axes, strict=True):
                if (around := reach(rows, key, factor)) is not None:
                    common[f"error_{name}"] = {
                        "array": around["above"],
                        "arrayminus": around["below"],
                        "thickness": 1,
                    }
        figure.add_scatter3d(mode="markers", **values, **common)
    return figure


def _plotly_pairs(front: Front) -> go.Figure:
    axes = [front.axis(index) for index in range(len(front.objectives))]
    figure = go.Figure()
    for rows, common in _plotly_groups(front):
        dimensions = [
            {"label": title.replace(", ", "<br>"), "values": rows[key] * factor}
            for key, (title, factor) in zip(front.objectives, axes, strict=True)
        ]
        figure.add_splom(dimensions=dimensions, showupperhalf=False, diagonal_visible=False, **common)
    return figure
