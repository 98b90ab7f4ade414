"""Pages of figures: small, whole, and safe to open; tests/commands/test_browser.py draws them."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pipeline.results.pages.figures_html import figure_page, figures_html
from tests.results.pages.packed_scripts import packed_scripts

MOST_BYTES = 2_000_000


def test_a_page_holds_plotlys_script_and_is_small() -> None:
    many = go.Figure(go.Scatter(y=[0.001 * k for k in range(1000)], hovertext=["cut 1<br>node-green"] * 1000))
    page = figure_page(many.update_layout(title="A & B"))
    assert len(page.encode()) <= MOST_BYTES
    assert "<title>A &amp; B</title>" in page
    assert "<script src=" not in page
    library, calls = packed_scripts(page)
    assert library == get_plotlyjs()
    assert calls.startswith('Plotly.newPlot("figure-0", {...{"data":[{')


def test_what_a_figure_says_is_packed_so_that_it_cannot_end_its_script() -> None:
    odd = go.Figure(go.Scatter(y=[1], name="</script><script>alert(1)</script>"))
    page = figure_page(odd)
    assert "alert" not in page
    assert "alert" in packed_scripts(page)[1]


def test_figures_share_one_script_and_are_as_they_were() -> None:
    figures = [go.Figure(go.Scatter(y=[k])) for k in range(3)]
    shown = figures_html(figures)
    _, calls = packed_scripts(shown)
    assert calls.count("Plotly.newPlot(") == shown.count("<div class=figure") == 3
    assert figures[0].layout.legend.y is None
    assert figures_html([]) == ""
