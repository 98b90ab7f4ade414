"""Carbon intensity of a zone over time, and of a fleet over a run.

`Static` reads the annual averages of the tables installed with CodeCarbon.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.domain import ConfigError, Device, Fleet, Grid, require_number

Floats = npt.NDArray[np.float64]

G_PER_KWH_PER_LB_PER_MWH = 0.45359237
"""One pound is 453.59237 g by definition."""


@functools.cache
def installed_zones() -> Mapping[str, float]:
    """gCO2e/kWh, annual average, by zone: WORLD, countries (DE, DEU), US states (US-CA), Nordic zones (SE3).

    From CodeCarbon's tables: Ember / Our World in Data for countries, EPA eGRID for US states (lb/MWh there),
    ENTSO-E for the Nordic bidding zones.
    """
    import pycountry
    from codecarbon.input import DataSource

    source = DataSource()  # type: ignore[no-untyped-call]
    zones = {"WORLD": float(source.get_carbon_intensity_per_source_data()["world_average"])}
    for alpha_3, mix in source.get_global_energy_mix_data().items():
        if mix.get("carbon_intensity") is not None:
            zones[alpha_3] = float(mix["carbon_intensity"])
            country = pycountry.countries.get(alpha_3=alpha_3)
            if country is not None:
                zones[country.alpha_2] = zones[alpha_3]
    for state, row in source.get_country_emissions_data("usa").items():
        if not state.startswith("_"):
            zones[f"US-{row['regionCode']}"] = row["emissions"] * G_PER_KWH_PER_LB_PER_MWH
    for zone, row in source.get_nordic_country_energy_mix_data()["data"].items():
        zones.setdefault(zone, float(row["emission_factor"]))
    return zones


@dataclass(frozen=True)
class Static:
    """The same intensity at all times: `zones` by config, else the installed annual average."""

    zones: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for zone, value in self.zones.items():
            require_number("grid.zones", zone, value, least=0)

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """One step, average, location-based. Raises ConfigError for a zone that no table has."""
        value = self.zones.get(zone, installed_zones().get(zone))
        if value is None:
            close = difflib.get_close_matches(zone, installed_zones(), n=3)
            hint = (
                f"did you mean {', '.join(close)}?" if close else "for example DE, FRA, US-CA, SE3 or WORLD"
            )
            raise ConfigError(f"zone: unknown zone {zone!r} ({hint}; or give it under grid.zones)")
        return [(begin, float(value))]


@dataclass(frozen=True, eq=False)
class Intensity:
    """gCO2e/kWh of each device over a run, constant from step to step; the last step holds on for ever."""

    names: tuple[str, ...]
    since_s: Floats
    """(steps,): seconds from the run's start, rising from 0."""
    g_per_kwh: Floats = field(repr=False)
    """(devices, steps)."""

    @classmethod
    def of(cls, fleet: Fleet, grid: Grid, begin: datetime, horizon_s: float = 0.0) -> Self:
        """Of every device from begin on: its own fixed intensity where it has one, else its zone's.

        Raises ConfigError naming the device whose zone is unknown or not covered to the horizon.
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

    @classmethod
    def constant(cls, g_per_kwh: Mapping[str, float]) -> Self:
        """The same at all times."""
        values = np.array(list(g_per_kwh.values()), dtype=float)
        return cls(tuple(g_per_kwh), np.zeros(1), values[:, None])

    def at(self, time_s: float) -> dict[str, float]:
        """By device, at a time of the run."""
        column = self.g_per_kwh[:, self.since_s.searchsorted(time_s, side="right") - 1]
        return dict(zip(self.names, column.tolist(), strict=True))

    def mean(self, device: str, begin_s: npt.ArrayLike, end_s: npt.ArrayLike) -> Floats:
        """Its average over intervals of the run; over an empty one, what holds at its begin."""
        values = self.g_per_kwh[self.names.index(device)]
        begin, end = np.asarray(begin_s, dtype=float), np.asarray(end_s, dtype=float)
        # The integral from 0 is piecewise linear.
        integral = np.concatenate([[0.0], np.cumsum(values[:-1] * np.diff(self.since_s))])
        steps = [np.maximum(self.since_s.searchsorted(at, side="right") - 1, 0) for at in (begin, end)]
        total = [
            integral[k] + values[k] * (at - self.since_s[k])
            for k, at in zip(steps, (begin, end), strict=True)
        ]
        span = end - begin
        same = (span <= 0) | (steps[0] == steps[1])
        mean = (total[1] - total[0]) / np.where(same, 1.0, span)
        return np.asarray(np.where(same, values[steps[0]], mean))


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
