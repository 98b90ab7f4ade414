"""Columns that tell meters apart, and those of one meter's measurements."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.carbon.meters.series_column import series_column


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("plug", "a b a b", ["a", "b"]),
        ("entity_id", "sensor.a sensor.a sensor.b sensor.a", ["sensor.a", "sensor.b"]),
        ("host", "10.0.0.5 10.0.0.7 10.0.0.5", ["10.0.0.5", "10.0.0.7"]),
        ("channel", "1 2 1 2", ["1", "2"]),
        ("sensorNo", "1 2 1", ["1", "2"]),
        ("plug", "a a a", None),
        ("plug", "a a b b", None),  # from then on the meter has another name
        ("note", "x _ x", None),
        ("voltage", "230.1 229.9 230.1", None),
        ("current", "0.2 0.1 0.2", None),
        ("meter_temperature", "21 22 21", None),
        ("voltage", "230V 229V 230V", None),
        ("id", "1 2 3 4", None),
        ("local", "20:01:11 20:01:11 20:01:12", None),
    ],
)
def test_only_a_column_that_alternates_tells_meters_apart(
    name: str, cells: str, expected: list[str] | None
) -> None:
    """_: a cell without a value."""
    column = ["" if cell == "_" else cell for cell in cells.split()]
    table = pd.DataFrame({"constant": ["x"] * len(column), name: column})
    assert series_column(table) == (None if expected is None else (name, expected))
