"""A wall meter's file, aligned with the run by time."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.carbon.meters.external import External
from pipeline.carbon.meters.reading import Reading, metered
from pipeline.domain.checks import ConfigError


def write_meter(path: Path, stop: threading.Event) -> None:
    """A wall meter of 50 W that writes a row every 20 ms."""
    with path.open("a") as file:
        while not stop.wait(0.02):
            file.write(f"{datetime.now(UTC).isoformat()},50\n")
            file.flush()


def test_a_wall_meter_is_aligned_by_time(tmp_path: Path) -> None:
    path, stop = tmp_path / "wall.csv", threading.Event()
    path.write_text("utc,power_w\n")
    writer = threading.Thread(target=write_meter, args=(path, stop))
    writer.start()
    try:
        time.sleep(0.1)
        with External(str(path), wait_s=0.2).measure() as reading:
            time.sleep(0.4)
    finally:
        stop.set()
        writer.join()
    assert reading.metrics["host_energy_j"] == pytest.approx(50 * reading.about["seconds"], rel=1e-6)
    assert reading.about["seconds"] == pytest.approx(0.4, abs=0.3)


def rows(
    start_s: float, count: int, power_w: object, step_s: float = 0.05, now: datetime | None = None
) -> str:
    """Lines of a meter from `start_s` seconds from now on."""
    now = now or datetime.now(UTC)
    return "".join(
        f"{(now + timedelta(seconds=start_s + k * step_s)).isoformat()},{power_w}\n" for k in range(count)
    )


def metered_run(path: Path, text: str) -> Reading:
    """The reading of a run of .6 s beside a file that tells the past and the future."""
    (path / "wall.csv").write_text("utc,power_w\n" + text)
    with metered(External(str(path / "wall.csv"))) as reading:
        time.sleep(0.6)
    return reading


@pytest.mark.parametrize(
    "around",
    [
        (rows(-9, 5, ""), rows(9, 5, "unavailable")),
        (rows(-9, 5, -0.02), rows(9, 5, 1e300)),
        (rows(-9, 2, 5, 0.0), rows(9, 2, 7, 0.0)),
        ("yesterday,5\n,\n", "9999-12-31T23:59Z,5\n"),
        ("", rows(9, 1, 10)[:15]),  # a last line that is not finished
        ("", rows(9, 1, 10).rstrip("\n")),  # of which nobody knows whether it is
    ],
)
def test_what_lies_outside_the_run_does_no_harm(around: tuple[str, str], tmp_path: Path) -> None:
    before, after = around
    reading = metered_run(tmp_path, before + rows(-1, 80, 10) + after)
    assert reading.metrics["host_energy_j"] == pytest.approx(10 * reading.about["seconds"], rel=1e-6)
    assert reading.about["interval_s"] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(-3700, 200, 80), (3600, 200, 2400)], "has no row within the run from"),
        ([(-1, 24, 10), (3600, 20, 10)], r"has a gap of 3.6e\+03 s from"),
        ([(-0.05, 3, 10), (3600, 1, 10)], r"has a gap of 3.6e\+03 s from"),
        ([(-100, 100, 10)], "does not cover the run from"),
        ([(-1, 24, 10), (0.21, 1, "unavailable"), (0.25, 40, 10)], "power_w must be a number >= 0"),
        ([(-1, 24, 10), (0.21, 1, 1e300), (0.25, 40, 10)], r"power_w must be at most 1e\+06"),
        ([(-1, 24, 10), (0.21, 1, 10), (0.21, 1, 11), (0.25, 40, 10)], "another row has that time"),
        ([(-1, 80, "10 W")], r"row \d+: power_w must be a number >= 0, in W and without a unit \(.*: 10 W\)"),
        ([(-1, 80, '"10,5"')], r"row \d+: power_w must be a number >= 0.*: 10,5\)"),
        ([(-1, 30, 10), (0.5, 30, "x")], r"power_w must be a number >= 0, in W and without a unit \(.*: x\)"),
    ],
)
def test_a_file_that_does_not_tell_leaves_the_run_without_a_reading(
    parts: list[tuple[float, int, object]], message: str, tmp_path: Path
) -> None:
    """The run's own results are kept. parts: arguments of `rows`."""
    now = datetime.now(UTC)
    reading = metered_run(tmp_path, "".join(rows(*part, now=now) for part in parts))
    assert reading.metrics == {}
    assert re.search(message, reading.problem)
    assert reading.method == f"refused: {reading.problem}"


def day_first(line: str) -> str:
    """A line of a meter with its time as in 28/11/2026 20:05:51."""
    at, power_w = line.split(",")
    return f"{datetime.fromisoformat(at):%d/%m/%Y %H:%M:%S.%f},{power_w}"


@pytest.mark.parametrize(
    "part", [slice(0, None, 2), slice(1, None, 2), slice(25, 26), slice(20, None), slice(0, None)]
)
def test_a_row_of_the_run_whose_time_cannot_be_read_is_not_left_out(part: slice, tmp_path: Path) -> None:
    """Every other row, one in the middle, all from the run's begin at about row 20 on, all."""
    lines = rows(-1, 80, 10).splitlines(keepends=True)
    bad = [day_first(line) for line in lines[part]]
    lines[part] = bad
    reading = metered_run(tmp_path, "".join(lines))
    assert reading.metrics == {}
    assert re.search(
        r"wall.csv, row \d+: utc must be a time as in 2021-06-01T00:00Z \(../../.*: 10", reading.problem
    )


def test_rows_of_two_meters_are_not_one_reading(tmp_path: Path) -> None:
    """50 and 30 W in turn are 80 W, not 40."""
    lines = rows(-1, 80, 50).split() + rows(-0.98, 80, 30).split()
    lines = [f"{line},{line.endswith('30')},{k % 7}" for k, line in enumerate(lines)]
    (tmp_path / "wall.csv").write_text("\n".join(["utc,power_w,plug,volt", *lines, ""]))
    with metered(External(str(tmp_path / "wall.csv"))) as reading:
        time.sleep(0.6)
    assert reading.metrics == {}
    words = (
        "has rows of several meters in the run from .*: plug alternates between .*(False|True); keep the rows"
    )
    assert re.search(words, reading.problem)


@pytest.mark.parametrize("more", ["", ",230.1 V,a"])
def test_a_row_that_is_there_twice_counts_once(more: str, tmp_path: Path) -> None:
    lines = [line + more for line in rows(-1, 80, 50).split()]
    doubled = [line for line in lines for _ in range(2)]
    header = "utc,power_w" + (",voltage,plug" if more else "")
    (tmp_path / "wall.csv").write_text("\n".join([header, *doubled, ""]))
    with metered(External(str(tmp_path / "wall.csv"))) as reading:
        time.sleep(0.6)
    assert reading.metrics["host_energy_j"] == pytest.approx(50 * reading.about["seconds"], rel=1e-6)
    assert reading.about["interval_s"] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "utc,power_w\n2030-01-01T00:00Z,1,5\n",
            "rows have more fields than the header 'utc,power_w'; separate",
        ),
        ("utc,power_w\n2030-01-01T00:00Z,1,\n", "and end no row with one"),
        ("utc,watts\n", "has no column 'power_w'"),
        (
            "utc,power_w\n2030-01-01T00:00Z,1\n2030-01-01 00:01:00,1\n",
            "row 2: utc must state its offset, as in 2021-06-01T00:00Z .2030-01-01 00:01:00: 1",
        ),
    ],
)
def test_a_bad_file_of_a_wall_meter_is_refused_before_the_run(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "wall.csv").write_text(text)
    with pytest.raises(ConfigError, match=message), metered(External(str(tmp_path / "wall.csv"))):
        pytest.fail("it began")
