"""The paper's page from figures that are easy to work with by hand: the paper's rows are all on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.fleet import Fleet
from pipeline.planning.exact_front import exact_front
from pipeline.results.paper.measured import measured
from pipeline.results.paper.page import Page, about
from pipeline.results.paper.tables import table_split
from tests.conftest import MakeProblem
from tests.results.pages.packed_scripts import packed_scripts
from tests.results.paper.conftest import REPETITIONS, weights


@pytest.fixture
def page(make_problem: MakeProblem, two_devices: Fleet) -> Page:
    fronts = {"mobilenet_v2": exact_front(make_problem(two_devices))}
    return Page.of(measured(REPETITIONS), weights(), fronts, ["How."])


def test_the_page_has_every_row_of_the_paper_beside_what_was_measured(page: Page) -> None:
    text = page.markdown()
    published = {
        "Monolithic": ("254.8", "5.300", "189.5"), "AMP4EC": ("277.2", "5.600"),
        "CE-Green": ("272.0", "4.100", "245.8"),
        "CE-Performance": ("271.4", "6.700", "149.6"), "CE-Balanced": ("271.1", "6.600"),
    }  # fmt: skip
    for name, values in published.items():
        [row, *_] = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        for value in values:
            assert f" {value} " in row, (row, value)
    assert "| mobilenet_v2 | 200.1 (199.4–200.7) → 240.1 (239.4–240.7) | 254.8 → 272.0 |" in text
    assert "-22.9%" in text  # Table IV
    assert "| mobilenet_v2 | CE-Performance | 0% | 100% | 0% | node-high 100% |" in text
    assert "| the paper's S_C (weighted) | 0.6 | 0.5 | 2 | node-high, node-green |" in text
    assert "| normalized | 0.7 | – | 3 | node-high, node-medium, node-green |" in text
    assert "| mobilenet_v2 | CE-Green | 0.02000 (0.02000–0.02000) | 0.03 |" in text


def test_the_html_page_has_the_same_tables_and_the_figures(page: Page) -> None:
    shown = page.html()
    for table in page.tables:
        assert f"<h2>{table.title}</h2>" in shown
        for row in table.rows:
            assert "".join(f"<td>{cell.replace(chr(39), '&#39;')}</td>" for cell in row) in shown
    for name in ("Fig. 2, mobilenet_v2", "Fig. 3", "the exact front over split placements"):
        assert name in packed_scripts(shown)[1]
    assert "<script src=" not in shown


def test_what_is_on_the_page_is_escaped(page: Page) -> None:
    odd = "<script>alert(1)</script> & more"
    tables = [replace(page.tables[0], title=odd, rows=[[odd]], notes=[odd])]
    shown = replace(page, about=[odd], tables=tables, differences=[odd], figures=[]).html()
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more") == 5


def test_what_a_split_saves_is_told_apart() -> None:
    """36 J at 530 become 31 J at 620 g/kWh: the effects add up to the change."""
    [row] = table_split(measured(REPETITIONS)).rows
    change, *effects = (float(cell.rstrip("%")) for cell in row[3:])
    assert change == pytest.approx((31 * 620 / (36 * 530) - 1) * 100, abs=0.05)
    assert sum(effects) == pytest.approx(change, abs=0.2)
    assert effects[0] < 0 < effects[1]


def test_the_page_states_how_often_and_by_which_meter_it_was_measured() -> None:
    first, meter, boundary, last = about(
        measured(REPETITIONS), {"host_meter": "RAPL", "boundary": "Counted: all."}, "on a day"
    )
    assert "2 repetitions of 2 requests each" in first
    assert "(RAPL)" in meter
    assert boundary == "Counted: all."
    assert last == "Measured on a day, commit not known."
