"""What a trial does beyond its parts: the grid of a run whose length nobody knew."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet
from pipeline.trial.accounted_run import _covering
from tests.carbon.conftest import NOW, trace


def test_where_a_grid_ends_before_a_closed_loop_its_last_value_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """100 g/kWh in the first minute, then 1,000; the trace ends after four, and the run after eight."""
    times = [NOW + timedelta(minutes=k) for k in range(4)]
    rows = [f"DE,{at:%Y-%m-%dT%H:%M}Z,{100 if at == NOW else 1000}" for at in times]
    grid = trace(tmp_path, "\n".join(["zone,utc,g", *rows]))
    fleet = Fleet("one", (Device("pi", memory_bytes=1, active_w=1, zone="DE"),))
    known = Intensity.of(fleet, grid, NOW, 0.0)
    part = SimpleNamespace(fleet=fleet, grid=grid)
    found = _covering(part, known, NOW, 480.0)  # type: ignore[arg-type]
    assert found.mean(0, 0.0, 480.0) == pytest.approx((60 * 100 + 420 * 1000) / 480)
    assert "the last intensity known is taken to hold to the end of the run" in caplog.text
    whole = _covering(part, known, NOW, 200.0)  # type: ignore[arg-type]
    assert whole.mean(0, 0.0, 200.0) == pytest.approx((60 * 100 + 140 * 1000) / 200)
    assert len(caplog.records) == 1
