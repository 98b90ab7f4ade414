"""Meters that are sampled, with sensors as files; hosts without the sensor."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.carbon.meters.cpu_time import CpuTime
from pipeline.carbon.meters.ina import Ina
from pipeline.carbon.meters.nvml import Nvml
from pipeline.carbon.meters.rapl import Rapl
from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import ConfigError


def busy(seconds: float) -> None:
    """Use CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_cpu_time_counts_this_process_and_its_idle_power() -> None:
    with CpuTime(interval_s=0.05, core_w=10.0, idle_w=2.0).measure() as reading:
        busy(0.6)
        time.sleep(0.4)
    about = reading.about
    cpu_j = reading.metrics["host_energy_j"] - 2.0 * about["seconds"]
    assert cpu_j == pytest.approx(10 * 0.6, rel=0.25)
    assert (about["tier"], about["interval_s"]) == ("modelled", 0.05)
    assert about["samples"] >= 5  # of twenty intervals, on a busy host
    assert about["resolution_j"] > 0
    assert about["idle_w"] is None


def test_an_idle_baseline_is_read_once() -> None:
    meter = CpuTime(interval_s=0.02, core_w=10.0, idle_w=3.0, baseline_s=0.3)
    idle_w = []
    for _ in range(2):
        with meter.measure() as reading:
            time.sleep(0.25)
        idle_w.append(reading.about["idle_w"])
    assert idle_w[0] == idle_w[1]
    assert 3.0 <= idle_w[0] < 13.0  # with at most one core of this process's own


def first_uj(package: int) -> int:
    """Far enough apart that no package looks like another one's mirror."""
    return 10**9 * (1 + 7 * package)


def rapl(folder: Path, packages: int = 1) -> Path:
    """Counters of microjoules, as Linux's powercap shows them."""
    for number in range(packages):
        package = folder / f"intel-rapl:{number}"
        package.mkdir(parents=True)
        (package / "name").write_text(f"package-{number}\n")
        (package / "energy_uj").write_text(str(first_uj(number)))
        (package / "max_energy_range_uj").write_text("262143328850")
    return folder


def test_rapl_counts_what_its_counters_count(tmp_path: Path) -> None:
    counters = [path / "energy_uj" for path in sorted(rapl(tmp_path, 2).iterdir())]
    meter = Rapl(directory=str(tmp_path), interval_s=0.02)
    with meter.measure() as reading:
        for step in range(1, 16):
            for number, counter in enumerate(counters):
                now_uj = first_uj(number) + step * (2_000_000 + 500_000 * number)
                counter.with_suffix(".new").write_text(str(now_uj))
                counter.with_suffix(".new").replace(counter)
            time.sleep(0.03)
    assert reading.metrics["host_energy_j"] == pytest.approx(15 * (2.0 + 2.5))
    assert reading.about["tier"] == "metered"
    assert reading.about["resolution_j"] > 0


def ina(folder: Path, label: str = "VDD_IN") -> Path:
    chip = folder / "hwmon3"
    chip.mkdir(parents=True)
    (chip / "in1_label").write_text(f"{label}\n")
    (chip / "in1_input").write_text("5000\n")
    (chip / "curr1_input").write_text("800\n")
    return folder


def test_ina_is_volts_times_amperes(tmp_path: Path) -> None:
    with Ina(directory=str(ina(tmp_path)), interval_s=0.02).measure() as reading:
        time.sleep(0.3)
    assert reading.metrics["host_energy_j"] == pytest.approx(4.0 * reading.about["seconds"], rel=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: Rapl(directory=str(folder / "none")), "RAPL"),
        (lambda folder: Ina(directory=str(folder)), "meter.rail: no rail 'VDD_IN' under .* .it has none"),
        (lambda folder: Ina(directory=str(ina(folder, "CPU"))), "no rail 'VDD_IN' .* .it has CPU"),
    ],
)
def test_a_host_without_the_sensor_is_refused(
    tmp_path: Path, make: Callable[[Path], Sampled], message: str
) -> None:
    with pytest.raises(ConfigError, match=message), make(tmp_path).measure():
        pytest.fail("it must not begin")


def test_a_host_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecarbon.core.gpu.is_gpu_details_available", lambda: False)
    with pytest.raises(ConfigError, match="NVML finds no GPU with an energy counter"), Nvml().measure():
        pytest.fail("it must not begin")
