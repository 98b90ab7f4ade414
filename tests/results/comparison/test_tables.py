"""The tables and the waterfall of a comparison."""

from __future__ import annotations

import io
import math

import pytest

from pipeline.results.comparison.side import Side
from pipeline.results.comparison.tables import effects_table, figures_table, print_comparison
from pipeline.results.comparison.waterfall import waterfall
from pipeline.results.terminal import terminal


def test_figures_and_their_change(fast: Side, published: Side) -> None:
    """300 J become 600 J."""
    table = figures_table(fast, published).set_index("per inference")
    rows = table.T.to_dict("list")
    assert rows["energy of devices (J)"] == pytest.approx([300, 600, 300, 2])
    assert rows["carbon (g)"][:3] == pytest.approx([0.075, 0.05, -0.025])
    assert math.isnan(float(table["b"]["carbon of links (g)"]))  # the publication does not state them


def test_effects_add_up_to_the_change(fast: Side, clean: Side) -> None:
    table = effects_table(fast, clean)
    assert table["g_per_inf"].sum() == pytest.approx(clean.footprint.total_g - 0.075)
    assert table["share_of_change"].sum() == pytest.approx(1)


def test_what_is_printed_has_both_tables_and_the_verdict(fast: Side, published: Side) -> None:
    console = terminal(io.StringIO(), 120)
    print_comparison(console, fast, published, "The verdict [/b].")
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    for said in ("B: there, against A: on fast", "×2.000", "n/a", "LMDI", "The verdict [/b]."):
        assert said in text
    assert "nan" not in text


def test_a_waterfall_goes_from_a_to_b(fast: Side, clean: Side) -> None:
    (bars,) = waterfall(fast, clean).data
    assert [*bars.x] == ["on fast", "by energy", "by intensity", "on clean"]
    assert sum(bars.y[:-1]) == pytest.approx(bars.y[-1])
