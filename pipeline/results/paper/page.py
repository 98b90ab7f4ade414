"""The page of the paper's tables and figures, measured here, as HTML and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from pipeline.planning.exact_front import ExactFront
from pipeline.results.pages.figures_html import figures_html
from pipeline.results.pages.rendering import rendered
from pipeline.results.paper.differences import differences
from pipeline.results.paper.figures import figure_2, figure_3, figure_front
from pipeline.results.paper.measured import models
from pipeline.results.paper.tables import (
    Table,
    table_2,
    table_4,
    table_5,
    table_scheduling,
    table_split,
    table_switch,
)


@dataclass(frozen=True)
class Page:
    """Everything on the page, in order."""

    about: Sequence[str]
    tables: Sequence[Table]
    differences: Sequence[str]
    figures: Sequence[go.Figure]

    @classmethod
    def of(
        cls,
        figures: pd.DataFrame,
        weights: pd.DataFrame,
        fronts: Mapping[str, ExactFront],
        about: Sequence[str],
    ) -> Page:
        """The page of these tables and paragraphs.

        figures: columns as `measured` returns them; weights: columns as `switches` does; fronts: the exact
        front of each model, by name; about: paragraphs about the method.
        """
        names = models(figures)
        tables = [
            *(table_2(figures, model) for model in names),
            table_4(figures), table_5(figures), table_switch(weights), table_scheduling(figures),
            table_split(figures),
        ]  # fmt: skip
        drawn = [*(figure_2(figures, model) for model in names), figure_3(weights)]
        drawn += [figure_front(fronts[model], figures, model) for model in names if model in fronts]
        return cls(about, tables, differences(figures, weights), drawn)

    def markdown(self) -> str:
        """The page as Markdown, without the figures."""
        parts = ["# CarbonEdge's paper, measured here", *self.about]
        for table in self.tables:
            lines = [table.columns, ["---"] * len(table.columns), *table.rows]
            rows = "\n".join(
                "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines
            )
            parts += [f"## {table.title}", rows, *table.notes]
        listed = "\n".join(f"- {each}" for each in self.differences)
        return "\n\n".join([*parts, "## Where it differs, and why", listed]) + "\n"

    def html(self) -> str:
        """The page as self-contained HTML, with the figures."""
        return rendered("paper/paper.html", page=self, figures=figures_html(self.figures))


def about(figures: pd.DataFrame, tags: Mapping[str, str], measured_on: str) -> list[str]:
    """The paragraphs about the method.

    figures: columns as `measured` returns them; tags: those of one of its runs; measured_on: date and
    software of the measurement.
    """
    repeats, requests = int(figures["repeats"].min()), int(figures["requests_ok"].min())
    return [
        f"Emulated on fleet=paper: three nodes of 1.0, 0.6 and 0.4 CPU at 620, 530 and 380 g/kWh. {repeats} "
        f"repetitions of {requests} requests each, one at a time; means, and in brackets their 95% "
        f"interval by Student's t (n = {repeats}). Published: CarbonEdge, arXiv 2603.27420.",
        "Host by quota is the paper's accounting: the energy of this host while a configuration ran "
        f"({tags.get('host_meter', 'no meter')}), at the intensity of the node to which it is attributed. "
        "Per device is ours: a node's own power (quota × 140 W, as the paper's figures imply) while it "
        "works.",
        tags.get("boundary", ""),
        f"Measured {measured_on}, commit {tags.get('mlflow.source.git.commit', 'not known')}.",
    ]
