"""The table, the note and the print of a front."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.results.front import KNEE, NO_KNEE, Front
from pipeline.results.tables.front_table import front_note, front_table, print_front
from tests.results.conftest import CARBON, LATENCY, LESS, RATE, printed


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
    assert table["number"].tolist() == [2, 0, 3]
    assert table["alike"].tolist() == [1, 4, 1]
    assert table["knee"].tolist() == [False, True, False]
    assert table["scheduler"][1] == f"{trials['scheduler'][0]}, performance"
    text = printed(print_front, table, KNEE)
    assert "Pareto front (3 plans, of 6 trials)" in text
    knee = next(line for line in text.splitlines() if line.startswith("│ ◆"))
    assert knee.replace("│", " ").split()[-1] == "4"
    assert [line.split("|")[2].strip() for line in front_note(front, {}).splitlines()[4:]] == [
        "trial 2 · trial 2",
        "trial 0 · trial 0",
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
    text = printed(print_front, table, KNEE, width=240)
    assert "utilisation" in text
    assert "margin" not in text
    fastest = next(line for line in text.splitlines() if " 100.0 " in line)
    assert fastest.replace("│", " ").split()[-1] == "12.50"
    assert "Deadline misses (%)" in text


def test_the_front_is_printed_for_people(trials: pd.DataFrame) -> None:
    text = printed(print_front, front_table(trials, [LATENCY, CARBON], LESS), KNEE)
    knee = next(line for line in text.splitlines() if line.startswith("│ ◆"))
    assert knee.replace("│", " ").split() == (
        ["◆", "0", "41", "node-green", "→", "node-high", "green", "110.0", "4.000", "250.0"]
    )
    assert "Carbon per inference (mg)" in text
    assert "carbon weight" not in text  # all the same
    assert "no front" in printed(print_front, front_table(trials[4:], [LATENCY, CARBON], LESS), "")


def test_a_front_above_the_line_through_its_ends_has_no_knee(trials: pd.DataFrame) -> None:
    """The ends are the nearest to that line, and no compromise."""
    trials = trials.assign(**{LATENCY: [199.0, 120.0, 100.0, 200.0, 90.0]})
    trials = trials.drop(index=1)
    front = Front.of(trials, [LATENCY, CARBON], LESS)
    assert front.mark == NO_KNEE
    assert front.members["number"].tolist() == [2, 0, 3]
    assert front.members["knee"].tolist() == [True, False, False]
    text = printed(print_front, front_table(trials, [LATENCY, CARBON], LESS), front.mark)
    assert "◆ no knee: no plan lies below the line through the front's ends" in text
    assert front_note(front, {}).startswith("**The front**; ◆ no knee: no plan lies below")


def test_a_front_of_one_plan_has_no_mark(trials: pd.DataFrame) -> None:
    alike = pd.concat([trials.iloc[[0]]] * 3, ignore_index=True)
    front = Front.of(alike, [LATENCY, CARBON], LESS)
    assert front.mark == ""
    text = printed(print_front, front_table(alike, [LATENCY, CARBON], LESS), front.mark)
    assert "Pareto front (1 plan, of 3 trials)" in text
    assert "◆" not in text + front_note(front, {})
