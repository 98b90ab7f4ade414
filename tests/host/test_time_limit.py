"""What has no limit of its own gets one."""

from __future__ import annotations

import time

import pytest

from pipeline.host.time_limit import within


def test_a_result_and_an_error_come_through() -> None:
    assert within(1e300, lambda: 3) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        within(60, lambda: int("x"))


def test_what_takes_longer_is_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"no whole answer within 0\.01 s"):
        within(0.01, lambda: time.sleep(0.5))
