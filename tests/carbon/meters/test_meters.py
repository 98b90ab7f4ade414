"""The host's own energy: over enough samples, refused over too few; sensors as files; shares that add up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.carbon.meters.apportioned import apportioned
from pipeline.carbon.meters.code_carbon import CodeCarbon
from pipeline.carbon.meters.cpu_time import CpuTime
from pipeline.carbon.meters.external import External
from pipeline.carbon.meters.ina import Ina
from pipeline.carbon.meters.nvml import Nvml
from pipeline.carbon.meters.rapl import Rapl
from pipeline.carbon.meters.reading import NoMeter
from pipeline.carbon.meters.sampled import Sampled
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.host.locks import machine_lock
from tests.conftest import choices, configured, record, records


def test_codecarbon_over_enough_samples() -> None:
    with CodeCarbon(zone="DE", interval_s=0.1).measure() as reading:
        time.sleep(1.2)
    energy_j = reading.metrics["host_energy_j"]
    assert 0.1 < energy_j < 1.5 * 2000  # between 0.07 W and 2 kW
    assert reading.metrics["host_carbon_g"] == pytest.approx(energy_j / 3.6e6 * 380.95)
    assert reading.method.startswith("codecarbon, whole machine, ")
    assert reading.about["tier"] in ("metered", "estimated")
    assert reading.about["samples"] >= 10


@pytest.mark.parametrize("meter", [CodeCarbon(interval_s=1.0), CpuTime(interval_s=1.0)])
def test_a_short_reading_is_refused_with_the_length_that_would_do(meter: Any) -> None:
    with meter.measure() as reading:
        time.sleep(0.1)
    assert reading.metrics == {}
    assert reading.method.endswith("is fewer than 10 intervals of 1 s; a run of 10 s would do")


def test_no_meter_reads_nothing() -> None:
    with NoMeter().measure() as reading:
        pass
    assert reading.metrics == {}


def busy(seconds: float) -> None:
    """Use so much CPU time of this thread."""
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
    told_w = []
    for _ in range(2):
        with meter.measure() as reading:
            time.sleep(0.25)
        told_w.append(reading.about["idle_w"])
    assert told_w[0] == told_w[1]
    assert 3.0 <= told_w[0] < 13.0  # with at most one core of this process's own


def first_uj(package: int) -> int:
    """Far enough apart that no package is taken for another one's mirror."""
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
    ("make", "message"),
    [
        (lambda folder: Rapl(directory=str(folder / "none")), "RAPL"),
        (lambda folder: Ina(directory=str(folder)), "meter.rail: no rail 'VDD_IN' under .* .it has none"),
        (lambda folder: Ina(directory=str(ina(folder, "CPU"))), "no rail 'VDD_IN' .* .it has CPU"),
    ],
)
def test_a_host_without_the_sensor_is_told(
    tmp_path: Path, make: Callable[[Path], Sampled], message: str
) -> None:
    with pytest.raises(ConfigError, match=message), make(tmp_path).measure():
        pytest.fail("it must not begin")


def test_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecarbon.core.gpu.is_gpu_details_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU whose energy NVML could tell"), Nvml().measure():
        pytest.fail("it must not begin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utc,watts\n", "has no column 'power_w'"),
        ("utc,power_w\n2030-01-01T00:00Z,1\n", "needs rows of utc, rising"),
        ("utc,power_w\n2030-01-01T00:00Z,1\n2030-01-01T00:01Z,-1\n", "needs rows of utc, rising"),
        ("utc,power_w\n2000-01-01T00:00Z,1\n2000-01-01T00:01Z,1\n", "does not cover the run from"),
    ],
)
def test_a_bad_file_of_a_wall_meter(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wall.csv").write_text(text)
    with pytest.raises(ConfigError, match=message), External(str(tmp_path / "wall.csv")).measure():
        pass


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="meter.zone: unknown zone 'QUE'"):
        CodeCarbon(zone="QUE")
    with pytest.raises(ConfigError, match="meter.zone: unknown zone 'QUE'"):
        CpuTime(zone="QUE")
    with pytest.raises(ConfigError, match="core_w must be a number > 0"):
        CpuTime(core_w=0)
    with pytest.raises(ConfigError, match="meter.path: no such file"):
        External("no.csv")


@pytest.mark.parametrize("name", choices("meter"))
def test_every_file_builds_a_meter(name: str, tmp_path: Path) -> None:
    (tmp_path / "wall.csv").write_text("utc,power_w\n")
    more = {"path": str(tmp_path / "wall.csv")} if name == "external" else {}
    assert hasattr(configured("meter", name, **more), "measure")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cpu_s=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20),
    joules=st.floats(1e-3, 1e9),
    seed=st.integers(0, 9),
)
def test_shares_add_up_to_the_host(cpu_s: list[float], joules: float, seed: int, two_devices: Fleet) -> None:
    rows = [
        record(k, 0, "compute", ("fast", "clean")[(k + seed) % 2], k, k + 1.0, cpu_s=own)
        for k, own in enumerate(cpu_s)
    ]
    table = apportioned(joules, records(rows, len(rows)), two_devices)
    for rule in ("cpu", "quota"):
        assert table[f"{rule}_energy_j"].sum() == pytest.approx(joules, rel=1e-9)
    quota = {device.name: device.cpu_quota for device in two_devices.devices}
    assert table["quota_share"].tolist() == [quota["fast"] / 2, quota["clean"] / 2]
    by_cpu = dict(zip(table["device"], table["cpu_energy_j"], strict=True))
    own = pd.Series(cpu_s)[(pd.RangeIndex(len(cpu_s)) + seed) % 2 == 0].sum()
    assert by_cpu["fast"] == pytest.approx(joules * own / sum(cpu_s), rel=1e-9, abs=1e-12)


def test_simulated_seconds_are_no_shares(two_devices: Fleet) -> None:
    run = records([record(0, 0, "compute", "fast", 0.0, 1.0, cpu_s=float("nan"))], 1.0)
    assert list(apportioned(10.0, run, two_devices)) == ["device", "quota_share", "quota_energy_j"]


def test_who_measures_has_the_machine_alone_and_may_ask_again() -> None:
    with machine_lock(), machine_lock():
        assert machine_lock().is_locked
    assert not machine_lock().is_locked
