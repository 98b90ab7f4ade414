"""The bench ends with an error, and one line a figure, where a ratio is beyond its limit."""

from __future__ import annotations

from functools import partial

import pytest

from tests.bench.yardsticks import Lines, best_of


def test_a_ratio_beyond_its_limit_is_named_and_ends_the_bench_with_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()
    lines.add("quick", "1 s", 2.0, "sorts", 2)
    lines.add("slow", "9 s", 2.5, "sorts", 2)
    lines.add("free", "9 s", 1e9, "sorts")
    with pytest.raises(SystemExit) as ended:
        lines.end()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "beyond its limit: slow: at most 2 sorts, found 2.5\n"


def test_a_bench_within_its_limits_ends_with_exit_code_0() -> None:
    lines = Lines()
    lines.add("quick", "1 s", 2.0, "sorts", 2)
    with pytest.raises(SystemExit) as ended:
        lines.end()
    assert ended.value.code == 0


def test_the_yardstick_is_taken_in_turn_with_the_work() -> None:
    turns: list[str] = []

    def unit() -> float:
        turns.append("unit")
        return 0.5

    seconds, ratio, found = best_of(2, unit, partial(turns.append, "work"))
    assert turns == ["unit", "work"] * 2
    assert (ratio, found) == (seconds / 0.5, None)
