"""Seconds of each layer on each device, as a table. Pure; `execution.devices.profiler` measures them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.checks import ConfigError, require, require_number, require_whole

LEAST_ERROR = 0.1
"""Least error of a prediction, since a host changes between its profile and a run: nine of ten plans of ten
networks were within it on an idle host (`make fidelity`)."""
MOST_PASSES = 1_000_000
MAX_INTERVAL = 0.03
"""Largest `Measurement.interval` of a steady measurement."""


@dataclass(frozen=True)
class Measurement:
    """When and under which conditions a profile was measured."""

    utc: str
    processor: str
    load_per_core: float
    """Load average of the host's last minute ÷ its cores, before the measurement began."""
    interval: float
    """Half the 95% interval of the median time of the whole model ÷ that median."""
    passes: int
    """Number of passes over the model that count."""

    def __post_init__(self) -> None:
        require_number("profile", "load_per_core", self.load_per_core, least=0)
        require_whole("profile", "passes", self.passes, most=MOST_PASSES)
        if self.interval != math.inf:  # as it is for few passes
            require_number("profile", "interval", self.interval, least=0)

    @property
    def steady(self) -> bool:
        """Whether the time of the whole model is known to within MAX_INTERVAL."""
        return self.interval <= MAX_INTERVAL


@dataclass(frozen=True)
class Profile:
    """Measured times: `table` has a row for each layer of each device. Raises ConfigError for invalid times.

    Columns: device (its name in `measured_as`), layer, name, op, cpu_s (CPU seconds on this host when the
    reference model takes `reference_cpu_s`), param_bytes, peak_bytes, boundary_bytes (entering).
    The mappings below `speeds` have the same names of devices as the table.
    """

    table: pd.DataFrame
    speeds: Mapping[str, float]
    """Speed of each device: a layer takes cpu_s ÷ speed there."""
    reference_cpu_s: float
    """CPU seconds of the reference model on this host when it was profiled."""
    task_cpu_s: Mapping[str, float]
    """CPU seconds to start a stage, beyond those of its layers."""
    codec_cpu_s: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """(a, b) by device and codec (such as `int8 encode`): x bytes of float32 take a + b * x CPU seconds."""
    error: Mapping[str, float] = field(default_factory=dict)
    """95th percentile of |measured ÷ predicted - 1| over held-out stages."""
    variation: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Times of the whole model and of its parts in each pass ÷ their medians."""
    measured_as: Mapping[str, str] = field(default_factory=dict)
    """The name of a device in the table; a device that is not here has its own. Devices may share rows."""
    measured: Measurement | None = None
    _cpu_s: Mapping[str, npt.NDArray[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_number("profile", "reference_cpu_s", self.reference_cpu_s, least=0, above=True)
        for device, value in self.speeds.items():
            require_number(f"profile of {device}", "speed", value, least=0, above=True)
        for device, ratios in self.variation.items():
            for ratio in ratios:
                require_number(f"profile of {device}", "variation", ratio, least=0, above=True, most=1e3)
        for device, error in self.error.items():
            require_number(f"profile of {device}", "error", error, least=0)
        for device, lines in self.codec_cpu_s.items():
            for codec, line in lines.items():
                require(len(line) == 2, f"profile of {device}: {codec} must be two numbers ({line})")
                for number in line:
                    require_number(f"profile of {device}", codec, number, least=0)
        for name, rows in self.table.groupby("device", sort=False):
            _require_times(str(name), rows)
            require_number(f"profile of {name}", "task_cpu_s", self.task_cpu_s.get(str(name)), least=0)
        sums = {
            str(device): np.concatenate([[0.0], np.cumsum(rows["cpu_s"].to_numpy(dtype=float))])
            for device, rows in self.table.groupby("device", sort=False)
        }
        object.__setattr__(self, "_cpu_s", sums)

    def _as(self, device: str) -> str:
        """The device's name in the table."""
        return self.measured_as.get(device, device)

    def cumulative_s(self, device: str) -> npt.NDArray[np.float64]:
        """(layers + 1,): entry k is the seconds of the first k layers on the device."""
        return self._cpu_s[self._as(device)] / self.speeds[device]

    def start_s(self, device: str) -> float:
        """Seconds to start a stage on the device."""
        return self.task_cpu_s[self._as(device)] / self.speeds[device]

    def prediction_error(self, devices: Iterable[str]) -> float | None:
        """Half the interval of a predicted latency on these devices ÷ the latency; None if it is unknown."""
        errors = [self.error.get(self._as(device)) for device in devices]
        known = [error for error in errors if error is not None]
        return max(LEAST_ERROR, *known) if len(known) == len(errors) else None

    def encode_s(self, device: str, compression: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds on the device to compress tensors; 0 for float32. num_bytes: their sizes as float32.

        The array returned has the shape of num_bytes.
        Raises ConfigError if the profile has no measurement of that codec.
        """
        return self._codec_s(device, f"{compression} encode", num_bytes)

    def decode_s(self, device: str, compression: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds on the device to restore tensors; arguments, shape and error as for `encode_s`."""
        return self._codec_s(device, f"{compression} decode", num_bytes)

    def _codec_s(self, device: str, codec: str, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        sizes = np.asarray(num_bytes, dtype=float)
        if codec.startswith("float32 "):
            return np.zeros_like(sizes)
        line = self.codec_cpu_s.get(self._as(device), {}).get(codec)
        if line is None:
            raise ConfigError(
                f"compression: the profile has no time for {codec} on {device}; measure it again"
            )
        return np.asarray((line[0] + line[1] * sizes) / self.speeds[device])

    def reordered(self, order: Sequence[int]) -> Profile:
        """The profile of the chain whose layer k is layer order[k] of this one.

        The table loses boundary_bytes, as the tensors between layers depend on the order. Raises ConfigError
        unless the order holds each layer once.
        """
        places = list(order)
        tables = []
        for device, rows in self.table.groupby("device", sort=False):
            known = rows.sort_values("layer")
            require(
                sorted(places) == known["layer"].tolist(),
                f"order: must hold each of the {len(known)} layers of {device} once (order: {tuple(places)})",
            )
            tables.append(known.iloc[places].assign(layer=range(len(places))))
        table = pd.concat(tables, ignore_index=True).drop(columns="boundary_bytes", errors="ignore")
        return replace(self, table=table)

    def to_json(self) -> str:
        """The whole profile as JSON text."""
        value = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        value["table"] = self.table.to_csv(index=False)
        value["measured"] = None if self.measured is None else asdict(self.measured)
        return json.dumps(value)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of `to_json`."""
        value = json.loads(text)
        table = pd.read_csv(io.StringIO(value.pop("table")), float_precision="round_trip")
        measured = value.pop("measured")
        return cls(table=table, measured=None if measured is None else Measurement(**measured), **value)


def _require_times(device: str, rows: pd.DataFrame) -> None:
    """Raise ConfigError for a time below 0, or if all are 0; a single layer may round to 0 s."""
    for layer, cpu_s in zip(rows["layer"], rows["cpu_s"], strict=True):
        require_number(f"profile of {device}, layer {layer}", "cpu_s", float(cpu_s), least=0)
    for name in ("boundary_bytes", "param_bytes", "peak_bytes"):
        for value in rows.get(name, ()):
            require_number(f"profile of {device}", name, float(value), least=0)
    require(rows["cpu_s"].sum() > 0, f"profile of {device}: its layers must take more than 0 s together")
