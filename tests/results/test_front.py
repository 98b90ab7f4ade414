"""What figures and tables show, in the units that they say."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation
from rich.console import Console

from pipeline.results.figures.front_figure import front_figure
from pipeline.results.figures.front_picture import front_picture
from pipeline.results.figures.schedulers_figure import schedulers_figure
from pipeline.results.front import Front, front_note, front_table, print_front
from pipeline.results.units import number, readable

LATENCY, CARBON, RATE = "latency_ms_p50", "carbon_g_per_inf", "inferences_per_g"
LESS = ("minimize", "minimize")


@pytest.fixture
def trials() -> pd.DataFrame:
    """Five trials: 2, 0 and 3 are the front (0 its knee), 1 is dominated by 0, and 4 failed."""
    carbon_g = np.array([0.004, 0.0045, 0.006, 0.0038, np.nan])
    return pd.DataFrame(
        {
            "run_id": list("abcde"),
            "number": range(5),
            "name": [f"trial {index}" for index in range(5)],
            "stages": [2, 2, 1, 1, 3],
            "cuts": ["41", "41", "", "", "41, 87"],
            "devices": ["node-green → node-high"] * 2 + ["node-high", "node-green", "node-high"],
            "scheduler": ["green", "green", "green", "performance", "green"],
            "carbon_weight": 0.5,
            LATENCY: [110.0, 120.0, 100.0, 200.0, 90.0],
            CARBON: carbon_g,
            RATE: 1 / carbon_g,
            "transfer_bytes_per_inf": [1e5, 2e5, 0.0, 0.0, 3e5],
        }
    )


def printed(print_it: Any, *data: Any, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO())
    print_it(console, *data)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "largest", "title", "factor"),
    [
        (CARBON, 0.0053, "Carbon per inference (mg)", 1e3),
        (CARBON, 5.3, "Carbon per inference (g)", 1),
        (CARBON, 4e-5, "Carbon per inference (µg)", 1e6),
        (CARBON, 4e-13, "Carbon per inference (ng)", 1e9),
        ("carbon_g_per_inf_hi", 0.001, "Carbon per inference (mg)", 1e3),
        ("transfer_bytes_per_inf", 150_528, "Transfer per inference (kB)", 1e-3),
        ("host_energy_j", 4.2e6, "Energy of the experiment (MJ)", 1e-6),
        (LATENCY, 0.02, "Median latency (ms)", 1),
        (RATE, 245.8, "Inferences per gram", 1),
    ],
)
def test_axes_say_a_unit_of_fitting_size(key: str, largest: float, title: str, factor: float) -> None:
    shown, by = readable(key, [largest, 0.0, np.nan])
    assert shown == title
    assert by == pytest.approx(factor)


def test_numbers_have_four_digits_and_the_unknown_is_not_a_number() -> None:
    values = [0.0041, 272.0, 1234.5, None, math.nan, math.inf]
    assert [number(v) for v in values] == ["0.004100", "272.0", "1,234", "n/a", "n/a", "n/a"]


# --- the front ------------------------------------------------------------------------------------


def test_the_figure_of_two_objectives_shows_every_trial_once_and_the_front_as_steps(
    trials: pd.DataFrame,
) -> None:
    before = trials.copy()
    figure = front_figure(trials, [LATENCY, CARBON], LESS)
    others, front, best = figure.data
    assert list(others.x) == [120]
    assert list(others.y) == pytest.approx([4.5])
    assert list(front.x) == [100, 110, 200]
    assert list(front.y) == pytest.approx([6, 4, 3.8])
    assert front.line.shape == "hv"
    assert list(best.x) == [110]
    assert figure.layout.yaxis.title.text == "Carbon per inference (mg), less is better"
    assert figure.layout.title.text == "Pareto front: 3 of 4 trials"
    for part in (
        "cuts: 41",
        "node-green → node-high",
        "green",
        "carbon weight: 0.5",
        "run: a",
        "(mg): 4.000",
    ):
        assert part in front.hovertext[1]
    assert "cuts: none" in front.hovertext[0]
    pd.testing.assert_frame_equal(trials, before)


def test_what_is_maximised_is_sorted_from_its_best(trials: pd.DataFrame) -> None:
    figure = front_figure(trials, [RATE, LATENCY], ["maximize", "minimize"])
    assert list(figure.data[1].y) == [200, 110, 100]
    assert figure.layout.xaxis.title.text == "Inferences per gram, more is better"


def test_intervals_are_drawn_where_they_are_known(trials: pd.DataFrame) -> None:
    trials[f"{CARBON}_lo"] = trials[CARBON] - 0.0001
    trials[f"{CARBON}_hi"] = [np.nan, 1, 0.0063, 0.004, np.nan]
    front = front_figure(trials, [LATENCY, CARBON], LESS).data[1]
    assert list(front.error_y.array) == pytest.approx([0.3, 0, 0.2])
    assert list(front.error_y.arrayminus) == pytest.approx([0.1, 0.1, 0.1])
    assert front.error_x.array is None


def test_the_region_of_a_front_goes_from_its_best_ends_to_its_worst(trials: pd.DataFrame) -> None:
    """Two trials in ms and mg, (100, 6) and (200, 4), each within 10 ms and 1 mg."""
    two = trials.iloc[[2, 3]].assign(**{CARBON: [0.006, 0.004]})
    for key, reach in ((LATENCY, 10), (CARBON, 0.001)):
        two[f"{key}_lo"], two[f"{key}_hi"] = two[key] - reach, two[key] + reach
    region = front_figure(two, [LATENCY, CARBON], LESS).data[3]
    assert region.fill == "toself"
    best = [(90, 7), (90, 5), (190, 5), (190, 3), (210, 3)]
    worst = [(110, 7), (110, 7), (210, 7), (210, 5), (210, 5)]
    corners = np.column_stack([region.x, region.y])
    assert corners == pytest.approx(np.array([*best, *reversed(worst)], dtype=float))
    # of more inferences per gram, the region is the same one upside down
    flipped = two.assign(
        **{RATE: -two[CARBON], f"{RATE}_lo": -two[f"{CARBON}_hi"], f"{RATE}_hi": -two[f"{CARBON}_lo"]}
    )
    region = front_figure(flipped, [LATENCY, RATE], ["minimize", "maximize"]).data[3]
    assert np.column_stack([region.x, -1e3 * region.y]) == pytest.approx(corners)


def test_a_trial_off_the_front_that_may_be_on_it_widens_the_region(trials: pd.DataFrame) -> None:
    two = trials.iloc[[2, 1]].assign(**{CARBON: [0.006, 0.007]})  # 100 ms; 120 ms, dominated
    two[f"{CARBON}_lo"], two[f"{CARBON}_hi"] = [0.006, 0.002], [0.006, 0.008]
    region = front_figure(two, [LATENCY, CARBON], LESS).data[3]
    assert region.y.min() == pytest.approx(2)
    assert front_figure(trials, [LATENCY, CARBON], LESS).data[-1].name == "knee"  # no intervals, no region


def test_the_note_links_the_front_to_its_runs(trials: pd.DataFrame) -> None:
    note = front_note(Front.of(trials, [LATENCY, CARBON], LESS), {"a": "#/experiments/1/runs/a"})
    assert note.splitlines()[2:] == [
        "|  | plan | Median latency (ms) | Carbon per inference (mg) |",
        "| --- | --- | --- | --- |",
        "|  | trial 2 · trial 2 | 100.0 | 6.000 |",
        "| ◆ | [trial 0 · trial 0](#/experiments/1/runs/a) | 110.0 | 4.000 |",
        "|  | trial 3 · trial 3 | 200.0 | 3.800 |",
    ]
    xs = np.arange(1.0, 101)
    many = pd.DataFrame(
        {"run_id": map(str, xs), "number": xs, "name": "x" * 100, LATENCY: xs, CARBON: 1 / xs}
    )
    note = front_note(Front.of(many, [LATENCY, CARBON], LESS), {})
    assert note.startswith("**The front** (20 of 100 plans)")
    assert len(note.splitlines()) == 2 + 2 + 20
    assert len(note) < 4000


def test_the_figure_of_one_objective_is_its_history(trials: pd.DataFrame) -> None:
    so_far, others, best = front_figure(trials, [CARBON], ["minimize"]).data
    assert list(so_far.x) == [0, 1, 2, 3]
    assert list(so_far.y) == pytest.approx([4, 4, 4, 3.8])
    assert list(others.x) == [0, 1, 2]
    assert list(best.x) == [3]
    so_far = front_figure(trials, [LATENCY], ["maximize"]).data[0]
    assert list(so_far.y) == [110, 120, 120, 200, 200]


def test_schedulers_are_told_apart_and_the_oracle_is_drawn_below_them(trials: pd.DataFrame) -> None:
    """At a regret of .25 a fifth of the computing was too much: of 4 mg, 3 of them computing, .6 mg."""
    trials = trials.assign(
        regret_to_oracle=[0.25, np.nan, 0.0, 1.0, np.nan], carbon_dynamic_g=0.03, requests_ok=10
    )
    figure = schedulers_figure(trials, [LATENCY, CARBON], LESS)
    assert figure is not None
    green, performance, oracle = figure.data
    assert (green.name, performance.name) == ("green", "performance")
    assert list(green.x) == [110, 120, 100]
    assert list(performance.y) == pytest.approx([3.8])  # mg
    assert list(oracle.x) == [110, 100, 200]
    assert list(oracle.y) == pytest.approx([4 - 0.6, 6, 3.8 - 1.5])
    alone = trials[trials["scheduler"] == "green"]
    assert schedulers_figure(alone, [LATENCY, CARBON], LESS) is None
    assert schedulers_figure(trials, [CARBON], LESS) is None


def test_the_figures_of_three_and_more_objectives(trials: pd.DataFrame) -> None:
    three = [LATENCY, CARBON, "transfer_bytes_per_inf"]
    space = front_figure(trials, three, ["minimize"] * 3).data[1]
    assert space.type == "scatter3d"
    assert list(space.z) == pytest.approx([0, 100, 0])
    sure = trials.assign(**{f"{LATENCY}_lo": trials[LATENCY] - 1, f"{LATENCY}_hi": trials[LATENCY] + 2})
    space = front_figure(sure, three, ["minimize"] * 3).data[1]
    assert set(space.error_x.array) == {2}
    assert set(space.error_x.arrayminus) == {1}
    pairs = front_figure(trials, [*three, RATE], ["minimize"] * 3 + ["maximize"]).data[1]
    assert pairs.type == "splom"
    assert len(pairs.dimensions) == 4


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
    assert printed(print_front, front_table(some, objectives, directions))


def test_the_table_of_the_front_keeps_keys_and_units(trials: pd.DataFrame) -> None:
    table = front_table(trials, [LATENCY, CARBON], LESS)
    assert table["run_id"].tolist() == ["c", "a", "d"]
    assert table[CARBON].tolist() == [0.006, 0.004, 0.0038]
    assert table["knee"].tolist() == [False, True, False]
    plan = ["number", "name", "cuts", "devices", "scheduler", "carbon_weight", "run_id"]
    assert list(table) == [*plan, LATENCY, CARBON, RATE, "knee"]


def test_trials_that_are_alike_are_one_row(trials: pd.DataFrame) -> None:
    """Trial 0 again as 5 and 6, the knee among them; what others asked for does not tell them apart."""
    again = trials.iloc[[0, 0]].assign(number=[5, 6], run_id=["f", "g"], carbon_weight=[0.1, 0.9])
    other = trials.iloc[[0]].assign(number=7, run_id="h", scheduler="performance")
    many = pd.concat([trials, again, other], ignore_index=True)
    front = Front.of(many, [LATENCY, CARBON], LESS)
    assert front.member.sum() == 6
    table = front_table(many, [LATENCY, CARBON], LESS, ["carbon_weight"])
    assert table["number"].tolist() == [2, 0, 7, 3]
    assert table["alike"].tolist() == [1, 3, 1, 1]
    assert table["knee"].tolist() == [False, True, False, False]
    text = printed(print_front, table)
    assert "Pareto front (4 plans, of 6 trials)" in text
    knee = next(line for line in text.splitlines() if line.startswith("│ ◆"))
    assert knee.replace("│", " ").split()[-1] == "3"
    assert [line.split("|")[2].strip() for line in front_note(front, {}).splitlines()[4:]] == [
        "trial 2 · trial 2",
        "trial 0 · trial 0",
        "trial 7 · trial 0",
        "trial 3 · trial 3",
    ]


def test_the_front_shows_what_varied_and_what_was_lost(trials: pd.DataFrame) -> None:
    """Misses of any trial, also where they are no objective; what is the same in all is not printed."""
    trials = trials.assign(slo_miss_rate=[0.0, 0.0, 0.125, 0.0, 0.0], requests_failed=0)
    trials["workload.utilisation"] = [0.5, 0.5, 0.3, 0.5, 0.5]
    trials["scheduler.margin"] = 0.1
    table = front_table(trials, [LATENCY, CARBON], LESS, ["workload.utilisation", "scheduler.margin"])
    assert table["slo_miss_rate"].tolist() == [0.125, 0.0, 0.0]
    assert "requests_failed" not in table
    text = printed(print_front, table, width=240)
    assert "utilisation" in text
    assert "margin" not in text
    fastest = next(line for line in text.splitlines() if " 100.0 " in line)
    assert fastest.replace("│", " ").split()[-1] == "12.50"
    assert "Deadline misses (%)" in text


def test_the_front_is_printed_for_people(trials: pd.DataFrame) -> None:
    text = printed(print_front, front_table(trials, [LATENCY, CARBON], LESS))
    knee = next(line for line in text.splitlines() if line.startswith("│ ◆"))
    assert knee.replace("│", " ").split() == (
        ["◆", "0", "41", "node-green", "→", "node-high", "green", "110.0", "4.000", "250.0"]
    )
    assert "Carbon per inference (mg)" in text
    assert "carbon weight" not in text  # all the same
    assert "no front" in printed(print_front, front_table(trials[4:], [LATENCY, CARBON], LESS))
