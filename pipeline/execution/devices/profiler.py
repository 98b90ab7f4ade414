"""Measure the time of each layer on this host, or read a stored profile. Shell."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from pipeline.domain.checks import ConfigError, require, require_number, require_whole
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.profile import MAX_INTERVAL, Measurement, Profile
from pipeline.execution.devices.bench import Bench
from pipeline.execution.devices.pool import PATIENCE_S, DevicePool
from pipeline.execution.devices.profile_fit import HOST, fitted, layers_of
from pipeline.execution.devices.reference_probe import reference_graph
from pipeline.host.data_file import text_of
from pipeline.host.files import write_atomically
from pipeline.host.locks import machine_lock
from pipeline.host.processor import processor
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec

DEVICES = ("first", "second")
"""The processes in which a profile is measured; at most one a core."""
PASSES = 5
"""Number of passes over the model in the same processes."""
MOST_PASSES = 3
"""Most passes over the model ÷ `repeats`, where its time is not steady."""
METHOD = 9
"""Version of the measurement method: stored profiles of another version are not used."""
MAX_ERROR = 0.15
"""Error of a profile (`Bench.error`) above which a warning is logged."""
_log = logging.getLogger(__name__)


def speed(device: Device, reference_cpu_s: float, core_latency_s: float | None = None) -> float:
    """A device's speed relative to one core of this host, when it was profiled (see Device).

    reference_cpu_s: CPU seconds of the reference model on this host, then. core_latency_s: its seconds on the
    core to which `speed` and `cpu_quota` refer; None: one of this host.
    """
    if device.speed is None and device.reference_latency_s is not None:
        return reference_cpu_s / device.reference_latency_s
    core = 1.0 if core_latency_s is None else reference_cpu_s / core_latency_s
    return core * (device.cpu_quota if device.speed is None else device.speed)


@dataclass(frozen=True)
class Profiler:
    """Measures a profile, or reads a stored one of the same model, torch and processor.

    Raises ConfigError for a value out of range.
    """

    warmup: int = 2
    """Number of passes over all layers before those that count."""
    repeats: int = 20
    """Number of passes that count; up to MOST_PASSES times as many, until the model's time is steady."""
    cache_dir: str | None = ".cache/profiles"
    """Folder of the stored profiles; None: measure every time."""
    patience_s: float = PATIENCE_S
    """Seconds for any one task, after which a process that has not answered has hung."""

    def __post_init__(self) -> None:
        require_whole("profiler", "warmup", self.warmup)
        require_whole("profiler", "repeats", self.repeats, least=1)
        require_number("profiler", "patience_s", self.patience_s, least=1)
        require(
            self.cache_dir is None or (isinstance(self.cache_dir, str) and self.cache_dir != ""),
            f"profiler.cache_dir: must be a folder's path, or null (it is {self.cache_dir!r})",
        )

    def profile(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> Profile:
        """The profile of a graph on a fleet, stored or new.

        All devices share one measurement, as they differ in speed only. Raises DeviceError if the process
        fails, and ConfigError if a new profile could not be stored, before it is measured.
        """
        measured = self._stored(spec, graph, fleet.reference_model)
        speeds = {d.name: speed(d, measured.reference_cpu_s, fleet.core_latency_s) for d in fleet.devices}
        return replace(measured, speeds=speeds, measured_as=dict.fromkeys(speeds, HOST))

    def _stored(self, spec: ModelSpec, graph: Graph, reference: str) -> Profile:
        if self.cache_dir is None:
            return self.measure(graph, reference)
        path = Path(self.cache_dir) / f"{spec.name}-{self._fingerprint(spec, graph, reference)}.json"
        # Ignore a file that is missing, broken, incomplete or of another version.
        broken = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
        with contextlib.suppress(*broken):
            kept = Profile.from_json(text_of(path))
            _require_complete(kept, graph)
            return kept
        _require_writable(path.parent)
        profile = self.measure(graph, reference)
        try:
            write_atomically(path, profile.to_json())
        except OSError as error:  # the measurement took minutes: the run uses it
            _log.warning("the profile of %s is not kept: %s (%s)", graph.name, path, error.strerror)
        return profile

    def _fingerprint(self, spec: ModelSpec, graph: Graph, reference: str) -> str:
        parts = (
            spec,
            layers_of(graph),
            reference,
            torch.__version__,
            processor(),
            (self.warmup, self.repeats, METHOD),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def measure(self, graph: Graph, reference: str) -> Profile:
        """Measure every layer in the process of one device, interleaved with the reference model."""
        _log.info("measuring the profile of %s (once)", graph.name)
        with machine_lock():
            load_per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
            bench = self._bench(DEVICES[: os.cpu_count()], graph, reference_graph(reference))
        measured = Measurement(
            utc=datetime.now(UTC).isoformat(timespec="seconds"),
            processor=processor(),
            load_per_core=load_per_core,
            interval=bench.interval,
            passes=bench.passes,
        )
        is_reference = layers_of(graph) == layers_of(reference_graph(reference))
        profile = fitted(graph, bench, is_reference=is_reference)
        if profile.error[HOST] > MAX_ERROR:
            _log.warning(
                "profile of %s: the times of stages that it was not fitted to differ from its predictions by "
                "up to %.0f%% (expected: at most %.0f%%); measure again on a quieter host or with more "
                "profiler.repeats",
                *(graph.name, profile.error[HOST] * 100, MAX_ERROR * 100),
            )
        return replace(profile, measured=measured)

    def _bench(self, names: Sequence[str], graph: Graph, reference: Graph) -> Bench:
        """All passes over the model."""
        bench, most = Bench(names, graph, reference), MOST_PASSES * self.repeats
        while not self._suffices(bench) and bench.passes < most:
            with contextlib.closing(DevicePool(names, self.patience_s)) as pool:
                bench.deploy(pool)
                for _ in range(self.warmup):
                    bench.measure(keep=False)
                for _ in range(min(PASSES, most - bench.passes)):
                    bench.measure(keep=True)
                    if self._suffices(bench):
                        break
        return bench

    def _suffices(self, bench: Bench) -> bool:
        return bench.passes >= self.repeats and bench.interval <= MAX_INTERVAL


def _require_writable(folder: Path) -> None:
    """Make the folder of the stored profiles. Raises ConfigError if no file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"profiler.cache_dir: must be a folder that can be written, or null ({folder}: {error.strerror})"
        ) from error


def _require_complete(profile: Profile, graph: Graph) -> None:
    """Raise ConfigError unless the profile of HOST has every layer and every other figure."""
    layers = {str(device): rows["layer"].tolist() for device, rows in profile.table.groupby("device")}
    kinds = (profile.task_cpu_s, profile.codec_cpu_s, profile.error, profile.variation)
    require(
        layers == {HOST: list(range(len(graph)))}
        and all(set(kind) == {HOST} for kind in kinds)
        and profile.measured is not None,
        f"profile of {graph.name}: must hold every layer",
    )
