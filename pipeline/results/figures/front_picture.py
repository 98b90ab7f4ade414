"""The front of a sweep as a static image. Pure: data in, figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from pipeline.planning.pareto import Points
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
from pipeline.results.units import text


def front_picture(trials: pd.DataFrame, objectives: Sequence[str], directions: Sequence[str]) -> Figure:
    """A static figure of a sweep: one panel for one or two objectives, one for each pair of more.

    trials: one row a trial, columns as `Front.of` takes them.
    """
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
            if (around := reach(members, key, factor)) is not None:
                errors: dict[str, Any] = {axis: np.stack([around["below"], around["above"]])}
                panel.errorbar(xs, ys, fmt="none", ecolor=BLUE, elinewidth=0.8, capsize=2, **errors)
        if (region := front_region(front)) is not None:
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
    numbers, best = best_so_far(front)
    panel.scatter(
        trial_numbers(front.others), front.others[key] * factor, s=22, c=GREY, alpha=0.6, lw=0, label="trials"
    )
    panel.plot(numbers, best * factor, drawstyle="steps-post", color=BLUE, lw=1.8, label="best so far")
    members = front.members
    panel.scatter(
        trial_numbers(front.trials)[members.index], members[key] * factor, s=70, c=ORANGE, ec="white",
        marker="D",
        zorder=3, label="best",
    )  # fmt: skip
    panel.set(xlabel="Trial", ylabel=title)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label_devices(panel: Axes, front: Front) -> None:
    """Write plans' devices beside them where there is room, the knee's and the extremes' first.

    A label is placed at a corner of its point or left out. `adjustText` places all labels, over other trials
    and far from their points on a dense front, and takes seconds to minutes.
    """
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
    labelled: set[str] = set()
    for row in sorted(
        range(len(members)), key=lambda row: (not members["knee"].iloc[row], row not in ends, row)
    ):
        devices = text(members["devices"].iloc[row])
        for right, up in corners if devices not in labelled else ():
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
                labelled.add(devices)
                break
            label.remove()


def _obstacles(panel: Axes, members: Points, others: Points) -> list[Bbox]:
    """Boxes, in pixels, that a label must not cover: points, the front's line, the legend."""
    front = panel.transData.transform(members)
    points = np.concatenate([front, panel.transData.transform(others)]) if len(others) else front
    boxes = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    for (x0, y0), (x1, y1) in pairwise(front):
        boxes.append(Bbox.from_extents(min(x0, x1), y0 - 1, max(x0, x1), y0 + 1))
        boxes.append(Bbox.from_extents(x1 - 1, min(y0, y1), x1 + 1, max(y0, y1)))
    legend = panel.get_legend()
    return boxes + ([legend.get_window_extent()] if legend else [])
