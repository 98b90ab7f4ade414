"""The front of a sweep as a figure to point at and as a picture to print. Pure: data in, figures out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from plotly import colors

from pipeline.front import Front
from pipeline.pareto import Points, non_dominated, signed
from pipeline.readable import PLAN, number, readable, text

GREY, BLUE, ORANGE = "#8C8C8C", "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion, which colour-blind readers tell apart (jfly.uni-koeln.de/color)."""
REGION = "where the front lies (95% intervals)"


# --- to point at ---


def front_figure(trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> go.Figure:
    """An interactive figure of a sweep: what each trial is shows when pointed at.

    One objective: its history. Two: the front, with 95% intervals and the region they leave it where known.
    Three: a space, with the intervals. More: all pairs.
    """
    front = Front.of(trials, objectives, directions)
    draw = {1: _plotly_history, 2: _plotly_front, 3: _plotly_space}.get(len(objectives), _plotly_pairs)
    figure = draw(front)
    figure.update_layout(
        title=front.title,
        template="plotly_white",
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"bgcolor": "white"},
    )
    return figure


def _hover(trials: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    scales = [(*readable(key, trials[key]), key) for key in objectives]
    known = [column for column in PLAN if column in trials]
    return [
        "<br>".join(
            [f"{PLAN[column]}: {text(row[column])}" for column in known]
            + [f"<b>{title}: {number(row[key] * factor)}</b>" for title, factor, key in scales]
        )
        for row in trials.to_dict("records")
    ]


def _plotly_groups(front: Front) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """Other trials, front, knee: the rows of each and what all of its traces have in common."""
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
                "hovertext": _hover(rows, front.objectives),
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
                if (missed := _missed(rows, key, factor)) is not None:
                    common[axis] = {"array": missed["above"], "arrayminus": missed["below"], "thickness": 1}
        else:
            common |= {"mode": "markers"}
        figure.add_scatter(x=rows[x] * x_factor, y=rows[y] * y_factor, **common)
    if (region := _region(front)) is not None:
        figure.add_scatter(
            x=region[:, 0] * x_factor, y=region[:, 1] * y_factor, name=REGION, mode="lines", fill="toself",
            line={"width": 0}, fillcolor=BLUE, opacity=0.12, hoverinfo="skip",
        )  # fmt: skip
    return figure


def overlay_figure(fronts: Mapping[str, Front]) -> go.Figure:
    """Fronts of two objectives by name, with the trials behind them; a name in the legend hides its own."""
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
                showlegend=look is steps, hoverinfo="text", hovertext=_hover(rows, front.objectives), **look,
            )  # fmt: skip
    figure.update_layout(title=f"{len(fronts)} fronts", legend={"orientation": "h", "y": -0.2})
    return figure


def schedulers_figure(
    trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]
) -> go.Figure | None:
    """The trials by scheduler, over the first two objectives; None for less than two of either.

    Where the regret to the oracle is known and carbon an objective, also what the oracle makes of each.
    """
    if len(objectives) < 2 or "scheduler" not in trials or trials["scheduler"].nunique() < 2:
        return None
    front = Front.of(trials, objectives[:2], directions[:2])
    (x, y), (x_title, x_factor), (y_title, y_factor) = front.objectives, front.axis(0), front.axis(1)
    figure = go.Figure(layout={"xaxis_title": x_title, "yaxis_title": y_title})
    for name, own in front.trials.groupby("scheduler"):
        figure.add_scatter(
            x=own[x] * x_factor,
            y=own[y] * y_factor,
            name=str(name),
            mode="lines+markers",
            line={"width": 1},
            marker={"size": 9},
            hoverinfo="text",
            hovertext=_hover(own, front.objectives),
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
            hovertext=_hover(least, front.objectives),
        )
    figure.update_layout(title="Schedulers", template="plotly_white", hoverlabel={"bgcolor": "white"})
    return figure


def _least(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with the carbon that the oracle says; those of which it says nothing are left out."""
    needed = ["regret_to_oracle", "carbon_dynamic_g", "requests_ok"]
    if not {*needed} <= {*trials.columns}:
        return trials[:0]
    known = trials[trials["regret_to_oracle"].notna()]
    grams = known.reindex(columns=["carbon_dynamic_g", "carbon_network_g"]).sum(axis=1)
    spared = grams * (1 - 1 / (1 + known["regret_to_oracle"])) / known["requests_ok"]
    return known.assign(carbon_g_per_inf=known["carbon_g_per_inf"] - spared)


def _plotly_history(front: Front) -> go.Figure:
    (key,) = front.objectives
    title, factor = front.axis(0)
    figure = go.Figure(layout={"xaxis_title": "Trial", "yaxis_title": title})
    numbers, best = _best_so_far(front)
    figure.add_scatter(x=numbers, y=best * factor, name="best so far", line={"color": BLUE, "shape": "hv"})
    for rows, common in _plotly_groups(front)[:2]:
        common["name"] = "best" if common["name"] == "front" else "trials"
        figure.add_scatter(x=_numbers(rows), y=rows[key] * factor, mode="markers", **common)
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
                if (missed := _missed(rows, key, factor)) is not None:
                    common[f"error_{name}"] = {
                        "array": missed["above"],
                        "arrayminus": missed["below"],
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


def _best_so_far(front: Front) -> tuple[pd.Series[Any], pd.Series[Any]]:
    numbers = _numbers(front.trials).sort_values()
    values = front.trials.loc[numbers.index, front.objectives[0]]
    return numbers, values.cummin() if front.directions[0] == "minimize" else values.cummax()


# --- to print ---


def front_picture(trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> Figure:
    """The same figure to print: one panel for one or two objectives, one for each pair of more."""
    front = Front.of(trials, objectives, directions)
    pairs = list(combinations(range(len(objectives)), 2))
    columns = min(len(pairs), 3) or 1
    rows = math.ceil(len(pairs) / columns) or 1
    figure = Figure(
        figsize=(8.0, 5.0) if len(pairs) <= 1 else (4.6 * columns, 4.2 * rows), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_axisbelow(True)
    for panel in panels[len(pairs) or 1 :]:
        panel.set_visible(False)
    if pairs:
        for panel, (x, y) in zip(panels, pairs, strict=False):
            _picture_pair(panel, front, x, y)
    else:
        _picture_history(panels[0], front)
    figure.suptitle(front.title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    panels[0].legend(frameon=False, fontsize=9)
    if len(pairs) == 1 and front.member.any() and "devices" in front.trials:
        _label_devices(panels[0], front)
    return figure


def _picture_pair(panel: Axes, front: Front, x: int, y: int) -> None:
    (x_title, x_factor), (y_title, y_factor) = front.axis(x), front.axis(y)
    x_key, y_key = front.objectives[x], front.objectives[y]
    members = front.members
    best = members[members["knee"]]
    panel.scatter(
        front.others[x_key] * x_factor, front.others[y_key] * y_factor, s=22, c=GREY, alpha=0.45, lw=0,
        label="other trials",
    )  # fmt: skip
    xs, ys = members[x_key] * x_factor, members[y_key] * y_factor
    if len(front.objectives) == 2:
        panel.plot(xs, ys, drawstyle="steps-post", color=BLUE, lw=1.5, zorder=2)
        for axis, key, factor in (("xerr", x_key, x_factor), ("yerr", y_key, y_factor)):
            if (missed := _missed(members, key, factor)) is not None:
                reach: dict[str, Any] = {axis: np.stack([missed["below"], missed["above"]])}
                panel.errorbar(xs, ys, fmt="none", ecolor=BLUE, elinewidth=0.8, capsize=2, **reach)
        if (region := _region(front)) is not None:
            xy = region[:, 0] * x_factor, region[:, 1] * y_factor
            panel.fill(*xy, color=BLUE, alpha=0.1, lw=0, zorder=0, label=REGION)
    panel.scatter(xs, ys, s=48, c=BLUE, ec="white", lw=0.8, zorder=3, label="front")
    panel.scatter(
        best[x_key] * x_factor, best[y_key] * y_factor, s=90, c=ORANGE, ec="white", lw=0.8, marker="D",
        zorder=4, label="knee",
    )  # fmt: skip
    panel.set(xlabel=x_title, ylabel=y_title)
    panel.margins(0.08)


def _picture_history(panel: Axes, front: Front) -> None:
    (key,) = front.objectives
    title, factor = front.axis(0)
    numbers, best = _best_so_far(front)
    panel.scatter(
        _numbers(front.others), front.others[key] * factor, s=22, c=GREY, alpha=0.6, lw=0, label="trials"
    )
    panel.plot(numbers, best * factor, drawstyle="steps-post", color=BLUE, lw=1.8, label="best so far")
    members = front.members
    panel.scatter(
        _numbers(front.trials)[members.index], members[key] * factor, s=70, c=ORANGE, ec="white", marker="D",
        zorder=3, label="best",
    )  # fmt: skip
    panel.set(xlabel="Trial", ylabel=title)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label_devices(panel: Axes, front: Front) -> None:
    """Write plans' devices beside them, the knee's and the extremes' first, where there is room."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # fixes the transform from data to pixels
    factors = [front.axis(index)[1] for index in (0, 1)]
    members = front.members
    places = members[list(front.objectives)].to_numpy(dtype=float) * factors
    taken = _obstacles(panel, places, front.others[list(front.objectives)].to_numpy(dtype=float) * factors)
    better = [-1 if direction == "minimize" else 1 for direction in front.directions]
    corners = [(better[0] * sx, better[1] * sy) for sx, sy in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    ends = (0, len(members) - 1)
    said: set[str] = set()
    for row in sorted(
        range(len(members)), key=lambda row: (not members["knee"].iloc[row], row not in ends, row)
    ):
        devices = text(members["devices"].iloc[row])
        for right, up in corners if devices not in said else ():
            label = panel.annotate(
                devices,
                xy=(places[row][0], places[row][1]),
                xytext=(7 * right, 5 * up),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                va="bottom" if up > 0 else "top",
                fontsize=8.5,
                color="0.2",
            )
            box = label.get_window_extent()
            inside = panel.bbox.containsx(box.x0) and panel.bbox.containsx(box.x1)
            inside = inside and panel.bbox.containsy(box.y0) and panel.bbox.containsy(box.y1)
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                said.add(devices)
                break
            label.remove()


def _obstacles(panel: Axes, members: Points, others: Points) -> list[Bbox]:
    """What a label must not cover, in pixels: points, the front's line, the legend."""
    front = panel.transData.transform(members)
    points = np.concatenate([front, panel.transData.transform(others)]) if len(others) else front
    boxes = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    for (x0, y0), (x1, y1) in pairwise(front):
        boxes.append(Bbox.from_extents(min(x0, x1), y0 - 1, max(x0, x1), y0 + 1))
        boxes.append(Bbox.from_extents(x1 - 1, min(y0, y1), x1 + 1, max(y0, y1)))
    legend = panel.get_legend()
    return boxes + ([legend.get_window_extent()] if legend else [])


def _numbers(trials: pd.DataFrame) -> pd.Series[Any]:
    """When each trial was made: its number, or its place in the table."""
    return trials["number"] if "number" in trials else pd.Series(range(len(trials)), index=trials.index)


def _region(front: Front) -> NDArray[np.float64] | None:
    """Outline, in the objectives' units, of where a front of two may lie if each is in its interval.

    From the front of all best ends to that of all worst ends; None where there are no intervals.
    """
    if front.ends is None or not front.member.any():
        return None
    bounds = [ends[non_dominated(ends)] for ends in front.ends]
    worst = np.concatenate(bounds).max(axis=0)
    best_side, worst_side = (_steps(bound[bound[:, 0].argsort()], worst) for bound in bounds)
    return signed(np.concatenate([best_side, worst_side[::-1]]), front.directions)


def _steps(front: Points, worst: Points) -> Points:
    """The corners of what a front dominates, along its first objective, between its worst values."""
    xs = np.concatenate([front[:, 0].repeat(2), worst[:1]])
    return np.column_stack([xs, np.concatenate([worst[1:], front[:, 1].repeat(2)])])


def _missed(trials: pd.DataFrame, key: str, factor: float) -> dict[str, NDArray[np.float64]] | None:
    """How far a metric's 95% interval reaches above and below its value; None if it has none."""
    if f"{key}_lo" not in trials or f"{key}_hi" not in trials:
        return None
    above = (trials[f"{key}_hi"] - trials[key]).to_numpy(dtype=float) * factor
    below = (trials[key] - trials[f"{key}_lo"]).to_numpy(dtype=float) * factor
    return {"above": np.nan_to_num(above).clip(0), "below": np.nan_to_num(below).clip(0)}
