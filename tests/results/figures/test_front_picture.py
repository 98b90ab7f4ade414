"""The static picture of a front, and every shape of sweep drawn and printed."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from pipeline.results.figures.front_figure import front_figure
from pipeline.results.figures.front_picture import front_picture
from pipeline.results.tables.front_table import front_table, print_front
from tests.results.conftest import CARBON, LATENCY, LESS, RATE, printed


def test_the_picture_draws_the_front_and_names_its_devices(trials: pd.DataFrame) -> None:
    panel, *more = front_picture(trials, [LATENCY, CARBON], LESS).axes
    assert not more
    (line,) = panel.get_lines()
    np.testing.assert_allclose(np.array(line.get_xydata()), np.array([[100, 6], [110, 4], [200, 3.8]]))
    assert line.get_drawstyle() == "steps-post"
    labels = {text.get_text() for text in panel.texts if isinstance(text, Annotation)}
    assert labels == {"node-high", "node-green → node-high", "node-green"}
    assert panel.get_xlabel() == "Median latency (ms), less is better"


@pytest.mark.parametrize(
    ("objectives", "panels"),
    [
        ([CARBON], 1),
        ([LATENCY, CARBON], 1),
        ([LATENCY, CARBON, "stages"], 3),
        ([LATENCY, CARBON, "stages", RATE], 6),
    ],
)
@pytest.mark.parametrize("kept", ["all", "one", "failed", "none", "bare"])
def test_every_sweep_can_be_drawn_and_printed(
    trials: pd.DataFrame, objectives: list[str], panels: int, kept: str
) -> None:
    some = {
        "all": trials,
        "one": trials[:1],
        "failed": trials[4:].drop(columns=CARBON),
        "none": trials[:0],
        "bare": trials[[LATENCY, CARBON, RATE, "stages"]],
    }[kept]
    directions = ["maximize" if key == RATE else "minimize" for key in objectives]
    picture = front_picture(some, objectives, directions)
    picture.savefig(io.BytesIO(), format="png")
    assert sum(panel.get_visible() for panel in picture.axes) == panels
    front_figure(some, objectives, directions).to_json()
    assert printed(print_front, front_table(some, objectives, directions), "")
