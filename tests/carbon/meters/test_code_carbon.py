"""CodeCarbon over enough samples."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.carbon.meters.code_carbon import CodeCarbon


def test_codecarbon_over_enough_samples() -> None:
    with CodeCarbon(zone="DE", interval_s=0.1).measure() as reading:
        time.sleep(1.2)
    energy_j = reading.metrics["host_energy_j"]
    assert 0.1 < energy_j < 1.5 * 2000  # between 0.07 W and 2 kW
    assert reading.metrics["host_carbon_g"] == pytest.approx(energy_j / 3.6e6 * 380.95)
    assert reading.method.startswith("codecarbon, whole machine, ")
    assert reading.about["tier"] in ("metered", "estimated")
    assert reading.about["samples"] >= 10


@pytest.mark.parametrize(
    "settings", ["pue = 9\nforce_cpu_power = 5000", "pue = abc\ngpu_ids = 0,x", "no = [section"]
)
def test_settings_that_lie_about_do_not_reach_the_meter(
    settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's CodeCarbon settings are of other experiments: 14,625 J were read for 538."""
    monkeypatch.chdir(tmp_path)
    Path(".codecarbon.config").write_text(f"[codecarbon]\n{settings}\n")
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "5000")
    with CodeCarbon(interval_s=0.1).measure() as reading:
        time.sleep(1.2)
    assert reading.metrics["host_energy_j"] < 1.5 * 2000
