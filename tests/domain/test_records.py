"""Records that are read back are checked before a figure is made of them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.records import Records
from tests.conftest import record, records

KEPT = records([record(0, 0, "compute", "fast", 0.0, 1.0), record(1, 0, "compute", "fast", 1.0, 3.0)], 3.0)


def test_they_come_back_as_they_were() -> None:
    back = Records.of(KEPT.table, KEPT.about())
    assert back.about() == KEPT.about()
    pd.testing.assert_frame_equal(back.table, KEPT.table, check_dtype=False)


@pytest.mark.parametrize(
    ("columns", "about", "complaint"),
    [
        ({"end_s": [1.0, 0.5]}, {}, "records: each must end no earlier than it begins"),
        ({"end_s": [1.0, math.nan]}, {}, "records: end_s must be a number >= 0 in every row"),
        ({"end_s": [1.0, None]}, {}, "records: end_s must be a number >= 0 in every row"),
        ({"end_s": [1.0, math.inf]}, {}, "records: end_s must be a number >= 0 in every row"),
        ({"bytes": ["1", "1"]}, {}, "records: bytes must be a number in every row"),
        ({"end_s": pd.to_timedelta([1, 2], unit="ns")}, {}, "records: end_s must be a number in every row"),
        ({"end_s": [1.0, 1e200]}, {}, "records: end_s must be within the run's 3 s in every row"),
        ({"end_s": [1.0, 3.1]}, {}, "records: end_s must be within the run's 3 s in every row"),
        ({"end_s": [1.0, 1e12]}, {"window_s": 1e12}, r"window_s must be at most 1e\+09"),
        ({"queued_s": [-1e200, 1.0]}, {}, "records: queued_s must be a number >= 0 in every row"),
        ({"queued_s": [0.0, 2.0]}, {}, "records: each must begin no earlier than it is queued"),
        ({"deadline_s": [-1.0, 1.0]}, {}, "records: deadline_s must be a number > 0, or infinite"),
        ({"cpu_s": [1e10, 1.0]}, {}, r"records: cpu_s must be at most 1e\+09 in every row"),
        ({"bytes": [1e300, 1.0]}, {}, r"records: bytes must be at most 1e\+15 in every row"),
        ({"start_s": [-1.0, 1.0]}, {}, "records: start_s must be a number >= 0 in every row"),
        ({"cpu_s": [math.inf, 1.0]}, {}, "records: cpu_s must be"),
        ({"bytes": [-1.0, 1.0]}, {}, "records: bytes must be"),
        ({"request": [0.0, 0.5]}, {}, "records: request must be a whole number in every row"),
        ({"device": ["fast", None]}, {}, "records: device must be a text in every row"),
        ({"kind": ["compute", "magic"]}, {}, "records: kind magic is unknown"),
        ({"status": ["fine", "ok"]}, {}, "records: status fine is unknown"),
        (
            {"start_s": [0.0, 0.0], "queued_s": [0.0, 0.0], "end_s": [3.0, 1.0]},
            {},
            "records: fast computes two tasks at once",
        ),
        ({"status": ["ok", "lost"]}, {}, r"records: request \[1\] is answered without each stage"),
        ({"kind": ["compute", "transfer"]}, {}, r"records: request \[1\] is answered without each stage"),
        ({"model": ["a", "b"], "request": [0, 0]}, {}, r"records: request \[0\] has rows of several models"),
        ({"stage": [1, 0], "request": [0, 0]}, {}, r"records: stage and request \[\(0, 1\)\] begin before"),
        ({"stage": [0, 1]}, {}, r"records: request \[0\] is answered without each stage"),
        ({"kind": ["compute", "rejected"]}, {}, "records: status must be failed in every row of a rejected"),
        ({}, {"reserved": ["clean"]}, "records: fast computed, but is not reserved"),
        ({}, {"grid": {"of": [{"mean_g_per_kwh": -1}]}}, "mean_g_per_kwh must be a number >= 0"),
        ({}, {"reserved": [1]}, "records: reserved must be names of devices"),
        ({}, {"reserved": ["fast"] * 2}, "records: reserved must be names of devices, each once"),
        ({}, {"measurement": None}, "records: measurement must be a text"),
        ({}, {"window_s": -5}, "records: window_s must be a number >= 0 .window_s: -5."),
        ({}, {"meter": {"method": "ina", "seconds": -5.0}}, "meter: seconds must be a number >= 0"),
        ({}, {"meter": {"idle_w": math.inf}}, "meter: idle_w must be a number >= 0"),
        ({}, {"window_s": None}, "records: window_s must be a number >= 0"),
        ({}, {"grid": [{"a": 1}, 5]}, "records: grid: must map names to facts"),
        ({}, {"software": "text"}, "records: software: must map names to facts"),
        ({}, {"boundary": [1]}, "records: boundary must be a text"),
        ({}, {"start_utc": "9999-12-31T23:59:59.9"}, "start_utc: must be in the years 1900 to 2200"),
        ({}, {"start_utc": "yesterday"}, "start_utc: must be a time"),
    ],
)
def test_what_cannot_be_is_refused(columns: dict[str, Any], about: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Records.of(KEPT.table.assign(**columns), KEPT.about() | about)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="records: without the column end_s"):
        Records.of(KEPT.table.drop(columns="end_s"), KEPT.about())
    with pytest.raises(ConfigError, match="without the key start_utc, window_s, reserved, measurement"):
        Records.of(KEPT.table, {})
