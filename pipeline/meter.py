"""Joules that this host draws while a block runs, and how well each meter can tell. Shell.

These are of the experiment itself, and kept out of the ledger. `tier` says how far to believe a figure:
metered (a sensor's joules), modelled (measured time × a power model) or estimated (a share of a nameplate).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from pipeline.domain import ConfigError, Records, require, require_number
from pipeline.fleet import Fleet
from pipeline.grid import installed_zones

MIN_INTERVALS = 10
"""A reading over fewer sampling intervals than this is refused, not printed."""


@dataclass
class Reading:
    """Filled in when the measured block ends; stays empty where the meter cannot tell."""

    metrics: dict[str, float] = field(default_factory=dict)
    method: str = "none"
    about: dict[str, Any] = field(default_factory=dict)
    """tier, interval_s, samples, seconds, resolution_j (the least that a sample told, above 0), idle_w: null
    where the meter cannot say."""

    def fill(
        self, name: str, tier: str, zone: str, joules: float, seconds: float, interval_s: float, *,
        samples: int, resolution_j: float | None = None, idle_w: float | None = None,
    ) -> None:  # fmt: skip
        """What the meter is and did; the figures of a block that was long enough, else why there are none."""
        self.about = {
            "tier": tier, "interval_s": interval_s, "samples": samples, "seconds": seconds,
            "resolution_j": resolution_j, "idle_w": idle_w,
        }  # fmt: skip
        if seconds < MIN_INTERVALS * interval_s:
            self.method = (
                f"refused: {name} over {seconds:.2f} s is fewer than {MIN_INTERVALS} intervals of "
                f"{interval_s:g} s; a run of {MIN_INTERVALS * interval_s:g} s would do"
            )
            return
        grams = joules / 3.6e6 * installed_zones()[zone]
        self.metrics = {"host_energy_j": joules, "host_carbon_g": grams}
        self.method = f"{name} ({tier})"


class Meter(Protocol):
    """Measures this host while a block runs."""

    def measure(self) -> AbstractContextManager[Reading]:
        """A context whose reading is complete when it ends. Raises ConfigError where the host has none."""
        ...


@dataclass(frozen=True)
class NoMeter:
    """Measures nothing."""

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """An empty reading."""
        yield Reading()


@dataclass(frozen=True)
class Sampled(ABC):
    """A meter that is read every so often while the block runs."""

    zone: str = "WORLD"
    """Where this host draws its power. WORLD, the world's average, is an assumption until you say."""
    interval_s: float = 0.25
    baseline_s: float = 0.0
    """For so long the idle host is read first, once a process; 0: not at all."""

    tier: ClassVar[str]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        require_number("meter", "interval_s", self.interval_s, least=0, above=True)
        require_number("meter", "baseline_s", self.baseline_s, least=0)
        _require_zone(self.zone)

    @abstractmethod
    def begin(self) -> Callable[[], float]:
        """Start to read: what it gives tells the joules drawn since it was last called.

        Raises ConfigError where this host has no such sensor.
        """

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; empty if it was shorter than MIN_INTERVALS."""
        idle_w = _baseline_w(self) if self.baseline_s else None
        reading = Reading()
        sampler = _Sampler(self.begin(), self.interval_s)
        try:
            yield reading
        finally:
            joules, seconds = sampler.stop()
        smallest_j = min((each for each in joules if each > 0), default=None)
        reading.fill(self.name, self.tier, self.zone, sum(joules), seconds, self.interval_s,
                     samples=len(joules), resolution_j=smallest_j, idle_w=idle_w)  # fmt: skip


class _Sampler:
    """Calls a reader every interval in a thread of its own."""

    def __init__(self, drawn_j: Callable[[], float], interval_s: float) -> None:
        self._drawn_j, self._interval_s = drawn_j, interval_s
        self._joules: list[float] = []
        self._end = threading.Event()
        self._error: Exception | None = None
        self._begin = time.perf_counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._end.wait(self._interval_s):
                self._joules.append(self._drawn_j())
        except Exception as error:
            self._error = error

    def stop(self) -> tuple[list[float], float]:
        """What each sample told, the last one up to now; and how long it was."""
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise ConfigError(f"meter: the sensor failed while it was read ({self._error})") from self._error
        self._joules.append(self._drawn_j())
        return self._joules, time.perf_counter() - self._begin


@functools.cache
def _baseline_w(meter: Sampled) -> float:
    """Power of the idle host by this meter."""
    sampler = _Sampler(meter.begin(), meter.interval_s)
    time.sleep(meter.baseline_s)
    joules, seconds = sampler.stop()
    return sum(joules) / seconds


def _require_zone(zone: str) -> None:
    require(
        zone in installed_zones(),
        f"meter.zone: unknown zone {zone!r} (for example DE, US-CA, SE3 or WORLD)",
    )


@dataclass(frozen=True)
class CodeCarbon:
    """CodeCarbon's offline tracker over the whole machine.

    Without RAPL it estimates: TDP x (0.1 + 0.9 load^3) and 20 W of memory; the reading's `method` says which.
    """

    zone: str = "WORLD"
    """Where this host draws its power. WORLD, the world's average, is an assumption until you say."""
    interval_s: float = 0.25

    def __post_init__(self) -> None:
        require_number("meter", "interval_s", self.interval_s, least=0, above=True)
        _require_zone(self.zone)

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; empty if it was shorter than MIN_INTERVALS."""
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(
            logging.CRITICAL
        )  # its own setting comes after its first lines
        reading = Reading()
        tracker = OfflineEmissionsTracker(
            country_iso_code="DEU",  # asked for, but not used: the intensity is ours
            force_carbon_intensity_g_co2e_kwh=installed_zones()[self.zone],
            measure_power_secs=self.interval_s,
            tracking_mode="machine",
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="critical",
        )
        tracker.start()
        begin = time.perf_counter()
        try:
            yield reading
        finally:
            seconds = time.perf_counter() - begin
            tracker.stop()
        data = tracker.final_emissions_data
        tier = "metered" if _has_rapl() else "estimated"
        reading.fill(f"codecarbon, whole machine, {data.cpu_model}", tier, self.zone,
                     data.energy_consumed * 3.6e6, seconds, self.interval_s,
                     samples=math.floor(seconds / self.interval_s))  # fmt: skip


@dataclass(frozen=True)
class CpuTime(Sampled):
    """CPU seconds of this process and its devices × a power model: everywhere, and as good as the model."""

    core_w: float = 5.0
    """What one busy core draws above idle."""
    idle_w: float = 0.0
    """What the host draws whatever it does."""

    tier: ClassVar = "modelled"
    name: ClassVar = "cpu_time"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("meter", "core_w", self.core_w, least=0, above=True)
        require_number("meter", "idle_w", self.idle_w, least=0)

    def begin(self) -> Callable[[], float]:
        """Of a process that ends in between, what it did since the last sample is lost."""
        import psutil

        own = psutil.Process()
        last: dict[int, float] = {}
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last, last_s
            now: dict[int, float] = {}
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    now[process.pid] = times.user + times.system
            # A process that is new began with nothing, and this one's earlier life is not of this block.
            cpu_s = sum(seconds - last.get(pid, 0.0) for pid, seconds in now.items())
            now_s = time.perf_counter()
            joules = cpu_s * self.core_w + (now_s - last_s) * self.idle_w
            last, last_s = now, now_s
            return joules

        drawn_j()
        return drawn_j


@dataclass(frozen=True)
class Rapl(Sampled):
    """Energy counters of the processor's packages, by CodeCarbon's reader, which knows wraps and mirrors."""

    directory: str = "/sys/class/powercap/intel-rapl/subsystem"

    tier: ClassVar = "metered"
    name: ClassVar = "rapl"

    def begin(self) -> Callable[[], float]:
        """Joules of all packages."""
        from codecarbon.core.cpu import IntelRAPL
        from codecarbon.core.units import Time

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        try:
            reader = IntelRAPL(rapl_dir=self.directory)  # type: ignore[no-untyped-call]
            reader.start()
        except Exception as error:
            raise ConfigError(
                f"meter: cannot read RAPL at {self.directory} ({error}); it needs an Intel or AMD processor "
                "and the right to read its counters, or choose meter=cpu_time"
            ) from error
        require(
            bool(reader._rapl_files),
            f"meter: no RAPL counter at {self.directory}; choose meter=cpu_time or codecarbon",
        )
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_s
            now_s = time.perf_counter()
            details = reader.get_cpu_details(Time.from_seconds(max(now_s - last_s, 1e-6)))
            last_s = now_s
            return float(sum(value for name, value in details.items() if "Energy" in name)) * 3.6e6

        return drawn_j


@dataclass(frozen=True)
class Nvml(Sampled):
    """Energy counters of NVIDIA GPUs, read by CodeCarbon's reader."""

    tier: ClassVar = "metered"
    name: ClassVar = "nvml"

    def begin(self) -> Callable[[], float]:
        """Joules of all GPUs."""
        from codecarbon.core import gpu
        from codecarbon.core.units import Time

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        require(
            gpu.is_gpu_details_available(),
            "meter: no GPU whose energy NVML could tell; choose meter=cpu_time or codecarbon",
        )
        devices = gpu.AllGPUDevices()
        devices.start()
        last_s = time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_s
            now_s = time.perf_counter()
            deltas = devices.get_delta(Time.from_seconds(max(now_s - last_s, 1e-6)))
            last_s = now_s
            return float(sum(delta["delta_energy_consumption"].kWh for delta in deltas)) * 3.6e6

        return drawn_j


@dataclass(frozen=True)
class Ina(Sampled):
    """Power monitors (INA3221 and the like) of a Jetson board: voltage × current of the rails named."""

    directory: str = "/sys/class/hwmon"
    rail: str = "VDD_IN"
    """The label of the rail to count: VDD_IN (POM_5V_IN on older boards) is the whole board's."""

    tier: ClassVar = "metered"
    name: ClassVar = "ina"

    def begin(self) -> Callable[[], float]:
        """Joules between two samples of power: the mean of both × the time."""
        inputs = self._inputs()
        last_w, last_s = _watts(inputs), time.perf_counter()

        def drawn_j() -> float:
            nonlocal last_w, last_s
            now_w, now_s = _watts(inputs), time.perf_counter()
            joules = 0.5 * (last_w + now_w) * (now_s - last_s)
            last_w, last_s = now_w, now_s
            return joules

        return drawn_j

    def _inputs(self) -> tuple[Path, Path]:
        """The files of millivolts and milliamperes (Linux, Documentation/hwmon/sysfs-interface)."""
        labels = sorted(Path(self.directory).glob("hwmon*/in*_label"))
        found = {path.read_text().strip(): path for path in labels}
        require(
            self.rail in found,
            f"meter.rail: no rail {self.rail!r} under {self.directory} (it has {', '.join(found) or 'none'})",
        )
        label = found[self.rail]
        number = label.name.removeprefix("in").removesuffix("_label")
        return label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")


def _watts(inputs: tuple[Path, Path]) -> float:
    millivolts, milliamperes = (float(path.read_text()) for path in inputs)
    return millivolts * milliamperes * 1e-6


@dataclass(frozen=True)
class External:
    """What a wall meter wrote: a CSV of `utc` (with its offset) and `power_w`, aligned by time."""

    path: str
    zone: str = "WORLD"
    """Where this host draws its power. WORLD, the world's average, is an assumption until you say."""
    wait_s: float = 0.0
    """For so long after the run its last rows are waited for."""

    def __post_init__(self) -> None:
        require_number("meter", "wait_s", self.wait_s, least=0)
        _require_zone(self.zone)
        require(Path(self.path).expanduser().is_file(), f"meter.path: no such file ({self.path})")

    @contextlib.contextmanager
    def measure(self) -> Iterator[Reading]:
        """host_energy_j and host_carbon_g of the block; ConfigError where the file does not cover it."""
        reading = Reading()
        begin = datetime.now(UTC)
        yield reading
        end = datetime.now(UTC)
        time.sleep(self.wait_s)
        at_s, power_w = self._rows()
        begin_s, end_s = begin.timestamp(), end.timestamp()
        require(
            at_s[0] <= begin_s and at_s[-1] >= end_s,
            f"meter.path: {self.path} does not cover the run from {begin:%H:%M:%S} to {end:%H:%M:%S} UTC; "
            "set meter.wait_s so that the meter can write its last rows",
        )
        inside = (at_s > begin_s) & (at_s < end_s)
        times = np.concatenate([[begin_s], at_s[inside], [end_s]])
        joules = float(np.trapezoid(np.interp(times, at_s, power_w), times))
        interval_s = float(np.median(np.diff(at_s)))
        seconds, samples = end_s - begin_s, int(inside.sum())
        reading.fill("external", "metered", self.zone, joules, seconds, interval_s, samples=samples)

    def _rows(self) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
        path = Path(self.path).expanduser()
        try:
            table = pd.read_csv(path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"meter.path: cannot read {path} ({str(error).splitlines()[0]})") from error
        for name in ("utc", "power_w"):
            require(
                name in table,
                f"meter.path: {path} has no column {name!r} (it has {', '.join(table.columns)})",
            )
        at = pd.to_datetime(table["utc"], utc=True, errors="coerce", format="ISO8601")
        at_s = np.asarray((at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=float)
        power_w = np.asarray(pd.to_numeric(table["power_w"], errors="coerce"), dtype=float)
        good = np.isfinite(at_s) & np.isfinite(power_w) & (power_w >= 0)
        require(
            len(at_s) > 1 and bool(good.all()) and bool((np.diff(at_s) > 0).all()),
            f"meter.path: {path} needs rows of utc, rising, and power_w >= 0",
        )
        return at_s, power_w


def apportioned(energy_j: float, records: Records, fleet: Fleet) -> pd.DataFrame:
    """The host's joules shared out over the devices that ran, one row each; every rule's add up to them.

    Columns: device, and for each rule `<rule>_share` and `<rule>_energy_j`. cpu: by the CPU
    seconds of its stages, where these were measured; quota: by its CPU quota, as the paper does. A share of
    the host is accounting: no sensor told the devices apart.
    """
    names = list(records.reserved)
    done = records.table[records.table["kind"] == "compute"]
    cpu_s = done.groupby(done["device"].astype(str))["cpu_s"].sum().to_dict()
    weights = {
        "cpu": [float(cpu_s.get(name, 0.0)) for name in names],
        "quota": [fleet.by_name[name].cpu_quota for name in names],
    }
    table = pd.DataFrame({"device": names})
    for rule, own in weights.items():
        weight = np.array(own, dtype=float)
        if np.isfinite(weight).all() and weight.sum() > 0:
            share = weight / weight.sum()
            table = table.assign(**{f"{rule}_share": share, f"{rule}_energy_j": share * energy_j})
    return table


def _has_rapl() -> bool:
    from codecarbon.core.cpu import is_rapl_available

    return bool(is_rapl_available())
