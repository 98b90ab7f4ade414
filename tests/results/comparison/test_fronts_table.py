"""Fronts of several sweeps side by side."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from pipeline.results.comparison.fronts_table import fronts_table, print_fronts
from pipeline.results.front import Front
from pipeline.results.terminal import terminal

KEYS = ("carbon_g_per_inf", "latency_ms_p50")


def front(*points: tuple[float, float]) -> Front:
    return Front.of(pd.DataFrame(points, columns=KEYS), KEYS, ("minimize", "minimize"))


def test_hypervolumes_have_one_reference_point() -> None:
    """Worst of all: (4, 4) × 1.1. The first dominates (4.4 - 1)(4.4 - 1), the second 4 less."""
    table = fronts_table({"first": front((1, 1), (4, 4)), "second": front((1, 3), (3, 1), (4, 2))})
    whole = (4.4 - 1) ** 2
    assert table["hypervolume"].tolist() == pytest.approx([whole, whole - 4])
    assert table["share"].tolist() == pytest.approx([1, 1 - 4 / whole])
    assert table["front"].tolist() == [1, 2]
    assert table["trials"].tolist() == [2, 3]


def test_sweeps_with_other_objectives_are_named() -> None:
    console = terminal(io.StringIO(), 120)
    print_fronts(
        console,
        "Sweeps of 'x'",
        fronts_table({"[red]first[/] [/x] :smile:": front((1, 1))}),
        {"other [/b]": "it has other objectives"},
    )
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert "Sweeps of 'x'" in text
    assert "[red]first[/] [/x] :smile:" in text
    assert "left out, as it has other objectives: other [/b]" in text
