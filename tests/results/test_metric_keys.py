"""The keys of a metric's interval and range, and how both ends are read."""

from __future__ import annotations

import pandas as pd

from pipeline.results.metric_keys import base_key, interval_keys, interval_of, range_keys


def test_the_ends_of_a_key_lead_back_to_it() -> None:
    for keys in (interval_keys, range_keys):
        assert {base_key(end) for end in keys("carbon_total_g")} == {"carbon_total_g"}
    assert base_key("latency_ms_p50") == "latency_ms_p50"


def test_both_ends_are_read_from_a_row_and_from_a_table() -> None:
    row = {"a": 2.0, "a_lo": 1.0, "a_hi": 3.0, "b": 2.0, "b_lo": 1.0}
    assert interval_of(row, "a") == (1.0, 3.0)
    assert interval_of(row, "b") is None
    ends = interval_of(pd.DataFrame([row]), "a")
    assert ends is not None
    assert [end.tolist() for end in ends] == [[1.0], [3.0]]
