"""Labels, units and digits of the values shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.results.units import number, scaled_label, text, with_interval
from tests.results.conftest import CARBON, LATENCY, RATE


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
def test_labels_have_a_unit_of_fitting_size(key: str, largest: float, title: str, factor: float) -> None:
    shown, by = scaled_label(key, [largest, 0.0, np.nan])
    assert shown == title
    assert by == pytest.approx(factor)


def test_numbers_have_four_digits_and_the_unknown_is_not_a_number() -> None:
    values = [0.0041, 272.0, 1234.5, None, math.nan, math.inf]
    assert [number(v) for v in values] == ["0.004100", "272.0", "1,234", "n/a", "n/a", "n/a"]


def test_cells_show_what_is_unknown_and_what_is_empty() -> None:
    assert [text(value) for value in (None, math.nan, "", "41", 0)] == ["n/a", "n/a", "none", "41", "0"]


def test_an_interval_stands_below_its_value() -> None:
    row = {"a": 2.0, "a_lo": 1.0, "a_hi": 3.0, "b": 2.0, "b_lo": math.nan, "b_hi": math.nan, "c": math.nan}
    shown = [with_interval(row, key, "{:.1f}".format) for key in "abc"]
    assert shown == ["2.0\n1.0 to 3.0", "2.0", "–"]
