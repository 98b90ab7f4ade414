"""A wall meter's file, aligned with the run by time."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.carbon.meters.external import External
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utc,watts\n", "has no column 'power_w'"),
        ("utc,power_w\n2030-01-01T00:00Z,1\n", "needs rows with rising utc"),
        ("utc,power_w\n2030-01-01T00:00Z,1\n2030-01-01T00:01Z,-1\n", "needs rows with rising utc"),
        (
            "utc,power_w\n2030-01-01T00:00Z,1\n2030-01-01T00:01Z,1e300\n",
            r"wall.csv, row 2: power_w must be at most 1e\+06",
        ),
        ("utc,power_w\n2000-01-01T00:00Z,1\n2000-01-01T00:01Z,1\n", "does not cover the run from"),
    ],
)
def test_a_bad_file_of_a_wall_meter(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wall.csv").write_text(text)
    with pytest.raises(ConfigError, match=message), External(str(tmp_path / "wall.csv")).measure():
        pass
