"""The carbon intensity of each device of a fleet over a run. Pure except for a warning."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.carbon.grid import Grid, NotCoveredError
from pipeline.domain.checks import ConfigError, require
from pipeline.domain.fleet import Device, Fleet

Floats = npt.NDArray[np.float64]
_Steps = tuple[Floats, Floats]
"""Begins, in seconds from the run's start, and gCO2e/kWh."""
_log = logging.getLogger(__name__)

FORESIGHT_S = 7 * 86_400.0
"""Furthest that intensities are looked up ahead of a moment: no forecast reaches further."""
MOST_VALUES = 20_000_000
"""Most intensities of a run, 0.2 GB: 2,000 devices over a year of hours."""
PATIENCE_S = 3600.0
"""A grid that refused a time is asked again for one that is later by this much."""


@dataclass(frozen=True, eq=False)
class Intensity:
    """gCO2e/kWh of each device over a run, constant within a step; the last step has no end."""

    names: tuple[str, ...]
    since_s: Floats
    """(steps,): seconds from the run's start, rising from 0."""
    g_per_kwh: Floats = field(repr=False)
    """(devices, steps), in the order of `names`."""
    known_s: float = math.inf
    """Time up to which the steps are known, in seconds from the run's start."""
    source: _Course | None = field(default=None, repr=False)
    """Where later steps are known from; None: there are none."""

    @classmethod
    def of(cls, fleet: Fleet, grid: Grid, begin: datetime, horizon_s: float = 0.0) -> Intensity:
        """The intensities from `begin` on: a device's own fixed one where it has one, else that of its zone.

        They are known up to the horizon; `until` returns later ones. Raises ConfigError naming the device
        whose zone is unknown or not covered up to the horizon.
        """
        return _Course(fleet, grid, begin, horizon_s).known

    def until(self, at_s: float) -> Intensity:
        """The same intensities, known up to `at_s`, or to the end of the grid's data if that is earlier.

        All that a run reads has one origin: its scheduler, its ledger and its oracle see the same values.
        """
        return self if self.source is None or at_s <= self.known_s else self.source.until(at_s)

    def whole(self, end_s: float) -> Intensity:
        """The intensities of a run that lasted until `end_s`.

        Where the grid's data end earlier, its last value holds, and a warning is logged.
        """
        return self if self.source is None or end_s <= self.known_s else self.source.whole(end_s)

    def before(self, end_s: float) -> Intensity:
        """Without the steps that begin after `end_s`."""
        steps = max(1, int(self.since_s.searchsorted(end_s, side="right")))
        return replace(self, since_s=self.since_s[:steps], g_per_kwh=self.g_per_kwh[:, :steps])

    def holds_until_s(self, time_s: float) -> float:
        """Time up to which the values at `time_s` hold: the next step, or the last time that is known."""
        step = int(self.since_s.searchsorted(time_s, side="right"))
        return float(self.since_s[step]) if step < len(self.since_s) else self.known_s

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


class _Course:
    """The intensities of one run, asked of the grid as the run goes on."""

    def __init__(self, fleet: Fleet, grid: Grid, start_utc: datetime, horizon_s: float) -> None:
        self._fleet, self._grid, self._start_utc = fleet, grid, start_utc
        self._silent_s = 0.0
        """The grid is not asked for times up to this one: it refused them."""
        self._refusal: ConfigError | None = None
        self._warned = False
        self.known = self._steps(0.0, horizon_s)

    def until(self, at_s: float) -> Intensity:
        """The intensities up to `at_s`, or to where the grid's data end."""
        if at_s <= self._silent_s:
            return self.known
        while self.known.known_s < at_s:
            try:
                self._add(self._steps(self.known.known_s, at_s))
            except ConfigError as error:
                self._refusal, self._silent_s = error, max(self._silent_s, at_s + PATIENCE_S)
                covered_s = self._seconds(error.until) if isinstance(error, NotCoveredError) else 0.0
                at_s = covered_s if covered_s < at_s else self.known.known_s
        return self.known

    def whole(self, end_s: float) -> Intensity:
        """The intensities of a run that lasted until `end_s`; see `Intensity.whole`."""
        self._silent_s = 0.0
        if self.until(end_s).known_s < end_s and not self._warned:
            self._warned = True
            message = "the last known intensity is assumed to hold to the end of the run: %s"
            _log.warning(message, self._refusal)
        return self.known

    def _add(self, later: Intensity) -> None:
        known, new = self.known, later.since_s > self.known.known_s
        since_s = np.concatenate([known.since_s, later.since_s[new]])
        g_per_kwh = np.concatenate([known.g_per_kwh, later.g_per_kwh[:, new]], axis=1)
        self.known = replace(later, since_s=since_s, g_per_kwh=g_per_kwh)

    def _steps(self, from_s: float, to_s: float) -> Intensity:
        """The steps in force from `from_s` to `to_s`; the first begins at or before `from_s`."""
        devices, zones = self._fleet.devices, dict[str | None, _Steps]()
        for device in devices:
            if device.intensity_g_per_kwh is None and device.zone not in zones:
                zones[device.zone] = self._zone_steps(device, from_s, to_s)
                _require_few(sum(len(at_s) for at_s, _ in zones.values()), "steps of zones")
        since_s = np.unique(np.concatenate([[from_s], *(at_s for at_s, _ in zones.values())]))
        _require_few(len(devices) * len(since_s), "devices x steps")
        rows = np.empty((len(devices), len(since_s)))
        for row, device in zip(rows, devices, strict=True):
            if device.intensity_g_per_kwh is not None:
                row[:] = device.intensity_g_per_kwh
            else:
                at_s, values = zones[device.zone]
                row[:] = values[np.searchsorted(at_s, since_s, side="right") - 1]
        return Intensity(tuple(self._fleet.by_name), since_s, rows, to_s, self)

    def _zone_steps(self, device: Device, from_s: float, to_s: float) -> _Steps:
        """The steps of a device's zone."""
        assert device.zone is not None  # Device requires it, or a fixed intensity
        begin, end = (self._start_utc + timedelta(seconds=at_s) for at_s in (from_s, to_s))
        where = f"fleet.devices.{device.name}"
        try:
            steps = self._grid.steps(device.zone, begin, end)
        except NotCoveredError as error:
            raise NotCoveredError(f"{where}.{error}", error.until) from error
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from error
        at_s = np.array([max(from_s, self._seconds(since)) for since, _ in steps])
        return at_s, np.array([value for _, value in steps], dtype=float)

    def _seconds(self, at: datetime) -> float:
        return (at - self._start_utc).total_seconds()


def _require_few(count: int, of: str) -> None:
    message = f"grid: {count} {of} are needed at once, and at most {MOST_VALUES} are held; shorten the run"
    require(count <= MOST_VALUES, message)
