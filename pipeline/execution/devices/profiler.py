"""Measure the time of each layer on each device, or read a stored profile. Shell."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pipeline.domain.checks import require, require_whole
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.profile import Profile
from pipeline.execution.devices.bench import Bench
from pipeline.execution.devices.pool import shared_pool
from pipeline.execution.devices.reference_probe import Drift, reference_graph
from pipeline.execution.devices.stage_fit import split_times
from pipeline.host.files import write_atomically
from pipeline.host.locks import machine_lock
from pipeline.host.processor import processor
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec

FIRST_PROBES = 15
"""Number of probes on each device before profiling; their median is the reference."""
METHOD = 3
"""Version of the measurement method: stored profiles of another version are not used."""
MAX_ERROR = 0.15
"""Error of a profile (`Bench.error`) above which a warning is logged."""
_log = logging.getLogger(__name__)


def _require_complete(profile: Profile, graph: Graph, fleet: Fleet) -> None:
    """Raise ConfigError unless the profile holds every layer and every other figure of every device."""
    layers = {str(device): rows["layer"].tolist() for device, rows in profile.table.groupby("device")}
    complete = layers == {name: list(range(len(graph))) for name in fleet.by_name}
    kinds = (profile.speeds, profile.task_cpu_s, profile.codec_cpu_s, profile.error, profile.variation)
    require(
        complete and all(set(kind) == set(fleet.by_name) for kind in kinds),
        f"profile of {graph.name}: must hold every layer on every device of {fleet.name}",
    )


def speed(device: Device, reference_cpu_s: float) -> float:
    """A device's speed relative to one core of this host (see Device).

    reference_cpu_s: CPU seconds of the reference model on this host.
    """
    if device.speed is not None:
        return device.speed
    if device.reference_latency_s is not None:
        return reference_cpu_s / device.reference_latency_s
    return device.cpu_quota


@dataclass(frozen=True)
class Profiler:
    """Measures a profile, or reads a stored one of the same model, devices, torch and processor.

    Raises ConfigError for a value out of range.
    """

    warmup: int = 2
    """Number of passes over all layers before those that count."""
    repeats: int = 20
    """Number of passes that count."""
    cache_dir: str | None = ".cache/profiles"
    """Folder of the stored profiles; None: measure every time."""

    def __post_init__(self) -> None:
        require_whole("profiler", "warmup", self.warmup)
        require_whole("profiler", "repeats", self.repeats, least=1)

    def profile(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> Profile:
        """The profile of a graph on a fleet, stored or new. Raises DeviceError if a process fails."""
        if self.cache_dir is None:
            return self.measure(graph, fleet)
        path = Path(self.cache_dir) / f"{spec.name}-{fleet.name}-{self._fingerprint(spec, graph, fleet)}.json"
        # Ignore a file that is missing, broken, incomplete or of another version.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = Profile.from_json(path.read_text())
            _require_complete(kept, graph, fleet)
            return kept
        profile = self.measure(graph, fleet)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, profile.to_json())
        return profile

    def _fingerprint(self, spec: ModelSpec, graph: Graph, fleet: Fleet) -> str:
        parts = (
            spec,
            [(layer.name, layer.op, layer.param_bytes, layer.peak_bytes) for layer in graph.layers],
            [(d.name, d.cpu_quota, d.speed, d.reference_latency_s) for d in fleet.devices],
            fleet.reference_model,
            torch.__version__,
            processor(),
            (self.warmup, self.repeats, METHOD),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def measure(self, graph: Graph, fleet: Fleet) -> Profile:
        """Measure every layer in every device's process, interleaving devices and reference probes."""
        _log.info("measuring the profile of %s on %d devices (once)", graph.name, len(fleet.devices))
        with machine_lock():
            return self._measure(graph, fleet)

    def _measure(self, graph: Graph, fleet: Fleet) -> Profile:
        pool = shared_pool(list(fleet.by_name))
        pool.set_reference(reference_graph(fleet.reference_model))
        reference_cpu_s = statistics.median(
            pool.probe_reference(name) for name in fleet.by_name for _ in range(FIRST_PROBES)
        )
        drift = Drift(reference_cpu_s)
        speeds = {device.name: speed(device, reference_cpu_s) for device in fleet.devices}
        bench = {name: Bench(pool, name, graph, 1 / speeds[name], drift) for name in fleet.by_name}
        for repeat in range(self.warmup + self.repeats):
            keep = repeat >= self.warmup
            # Devices take turns after every stage, as in a run: each finds caches that another has used.
            for _ in zip(*(device.turns(keep=keep) for device in bench.values()), strict=True):
                pass
        for name in bench:
            pool.call(name, {"op": "reset"})
        times = {
            name: split_times(b.layer_s, b.whole_s, b.parts_s, b.part_bounds) for name, b in bench.items()
        }
        tables = [_rows(graph, name, speeds[name], layers) for name, (layers, _) in times.items()]
        profile = Profile(
            table=pd.concat(tables, ignore_index=True),
            speeds=speeds,
            reference_cpu_s=reference_cpu_s,
            task_cpu_s={name: task for name, (_, task) in times.items()},
            dispatch_s=float(np.median([wait for b in bench.values() for wait in b.dispatch_s])),
            codec_cpu_s={name: b.codec_cpu_s() for name, b in bench.items()},
            error={name: b.error(*times[name]) for name, b in bench.items()},
            variation={name: b.variation() for name, b in bench.items()},
        )
        for name, error in profile.error.items():
            if error > MAX_ERROR:
                _log.warning(
                    "profile of %s on %s: the times of stages that it was not fitted to differ from its "
                    "predictions by up to %.0f%% (expected: at most %.0f%%); measure again on a quieter host "
                    "or with more profiler.repeats",
                    *(graph.name, name, error * 100, MAX_ERROR * 100),
                )
        return profile


def _rows(graph: Graph, device: str, speed: float, cpu_s: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "device": device,
            "layer": [layer.index for layer in graph.layers],
            "name": [layer.name for layer in graph.layers],
            "op": [layer.op for layer in graph.layers],
            "cpu_s": cpu_s,
            "wall_s": cpu_s / speed,
            "param_bytes": [layer.param_bytes for layer in graph.layers],
            "peak_bytes": [layer.peak_bytes for layer in graph.layers],
            "boundary_bytes": [cut.num_bytes for cut in graph.cuts[:-1]],
        }
    )
