"""Plotly's figures as HTML that works offline; its script is compressed: 2 MB instead of 5. Pure."""

from __future__ import annotations

import base64
import functools
import gzip
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from pipeline.results.pages.rendering import rendered

if TYPE_CHECKING:
    from plotly.basedatatypes import BaseFigure

LEGEND = {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"}
"""Below the axes: on a narrow page a legend above them covers the title."""


def figure_page(figure: BaseFigure) -> str:
    """A page that one figure fills."""
    title = figure.layout.title.text or ""
    return rendered("pages/figure.html", title=title, figures=figures_html([figure], "100vh"))


def figures_html(figures: Sequence[BaseFigure], height: str = "0px") -> Markup:
    """A part of a page: the figures, one below the other, each at least as high as that CSS height."""
    import plotly.graph_objects as go

    if not figures:
        return Markup("")
    calls = []
    for index, figure in enumerate(figures):
        drawn = go.Figure(figure).update_layout(legend=LEGEND).to_json()
        calls.append(f'Plotly.newPlot("figure-{index}", {{...{drawn}, config: {{responsive: true}}}});')
    scripts = [_library(), _packed("\n".join(calls))]
    return Markup(rendered("pages/figures.html", count=len(calls), height=height, scripts=scripts))


@functools.cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(script: str) -> str:
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
