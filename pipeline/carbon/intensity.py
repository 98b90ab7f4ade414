"""The carbon intensity of each device of a fleet over a run. Pure except for a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.carbon.grid import Grid
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet

Floats = npt.NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Intensity:
    """gCO2e/kWh of each device over a run, constant within a step; the last step has no end."""

    names: tuple[str, ...]
    since_s: Floats
    """(steps,): seconds from the run's start, rising from 0."""
    g_per_kwh: Floats = field(repr=False)
    """(devices, steps), in the order of `names`."""

    @classmethod
    def of(cls, fleet: Fleet, grid: Grid, begin: datetime, horizon_s: float = 0.0) -> Self:
        """The intensities from `begin` on: a device's own fixed one where it has one, else that of its zone.

        Raises ConfigError naming the device whose zone is unknown or not covered up to the horizon.
        """
        steps = [
            _device_steps(device, grid, begin, begin + timedelta(seconds=horizon_s))
            for device in fleet.devices
        ]
        since_s = np.array(sorted({0.0, *(at for of_device in steps for at, _ in of_device if at > 0)}))
        rows = []
        for of_device in steps:
            at, values = zip(*of_device, strict=True)
            rows.append(np.array(values)[np.searchsorted(at, since_s, side="right") - 1])
        return cls(tuple(fleet.by_name), since_s, np.array(rows, dtype=float))

    def extended(self, fleet: Fleet, grid: Grid, start_utc: datetime, until_s: float) -> Self:
        """The intensities up to `until_s` from the run's start, for a run that outlasts its horizon.

        Where the grid's data end earlier, its last value holds, and a warning is logged.
        """
        try:
            return self.of(fleet, grid, start_utc, until_s)
        except ConfigError as error:
            _log.warning("the last known intensity is assumed to hold to the end of the run: %s", error)
        known, covered_s, beyond_s = self, float(self.since_s[-1]), until_s
        for _ in range(12):  # bisection to 1/4096 of the run
            middle_s = (covered_s + beyond_s) / 2
            try:
                known, covered_s = self.of(fleet, grid, start_utc, middle_s), middle_s
            except ConfigError:
                beyond_s = middle_s
        return known

    @classmethod
    def constant(cls, g_per_kwh: Mapping[str, float]) -> Self:
        """Intensities that hold at all times, from gCO2e/kWh by device."""
        values = np.array(list(g_per_kwh.values()), dtype=float)
        return cls(tuple(g_per_kwh), np.zeros(1), values[:, None])

    def at(self, time_s: float) -> dict[str, float]:
        """gCO2e/kWh by device at a time of the run."""
        column = self.g_per_kwh[:, self.since_s.searchsorted(time_s, side="right") - 1]
        return dict(zip(self.names, column.tolist(), strict=True))

    def mean(self, device: npt.ArrayLike, begin_s: npt.ArrayLike, end_s: npt.ArrayLike) -> Floats:
        """(intervals,): mean gCO2e/kWh over intervals of the run; for an empty one, the value at its begin.

        device: index in `names`. Each argument is (intervals,), or one value for all intervals.
        """
        place, begin, end = np.broadcast_arrays(device, begin_s, end_s)
        if len(self.since_s) == 1:
            return np.asarray(self.g_per_kwh[place, 0])
        first, last = (np.maximum(self.since_s.searchsorted(at, side="right") - 1, 0) for at in (begin, end))
        mean = np.array(self.g_per_kwh[place, first])
        wide = (end > begin) & (first != last)
        if wide.any():  # most intervals lie within one step
            place, first, last = place[wide], first[wide], last[wide]
            # The integral from 0 is piecewise linear.
            whole = self.g_per_kwh[:, :-1] * np.diff(self.since_s)
            integral = np.concatenate([np.zeros((len(whole), 1)), np.cumsum(whole, axis=1)], axis=1)
            until, since = (
                integral[place, step] + self.g_per_kwh[place, step] * (at[wide] - self.since_s[step])
                for step, at in ((last, end), (first, begin))
            )
            mean[wide] = (until - since) / (end - begin)[wide]
        return mean


def _device_steps(device: Device, grid: Grid, begin: datetime, end: datetime) -> list[tuple[float, float]]:
    if device.intensity_g_per_kwh is not None:
        return [(0.0, device.intensity_g_per_kwh)]
    assert device.zone is not None  # Device requires one of the two
    try:
        steps = grid.steps(device.zone, begin, end)
    except ConfigError as error:
        raise ConfigError(f"fleet.devices.{device.name}.{error}") from error
    seconds = [max(0.0, (since - begin).total_seconds()) for since, _ in steps]
    return [(at, value) for at, (_, value) in zip(seconds, steps, strict=True)]
