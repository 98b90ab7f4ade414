"""Carbon intensity of a zone over time, and of a fleet over a run.

`Static` reads the annual averages of the tables installed with CodeCarbon, `Synthetic` puts a made-up day and
year around them, `Trace` reads a file.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.domain import ConfigError, Grid, require, require_number
from pipeline.fleet import Device, Fleet
from pipeline.trace_file import Series, read_trace, utc_text

Floats = npt.NDArray[np.float64]

G_PER_KWH_PER_LB_PER_MWH = 0.45359237
"""One pound is 453.59237 g by definition."""

INSTALLED = (
    "installed with CodeCarbon: Ember / Our World in Data, EPA eGRID (US states), ENTSO-E (Nordic zones), "
    "MEE / NBS (China), shares of sources x lifecycle factors (Canada), Google Cloud"
)
SOURCES_OF_CANADA = {
    "coal": "coal",
    "petroleum": "petroleum",
    "naturalGas": "natural_gas",
    "nuclear": "nuclear",
    "hydro": "hydroelectricity",
    "solar": "solar",
    "wind": "wind",
    "biomass": "biomass",
}
"""Installed shares and what the factors call them. `other` and `tidal` have no factor (and are 0)."""


@functools.cache
def installed_zones() -> Mapping[str, float]:
    """gCO2e/kWh, annual average, by zone: WORLD, countries (DE, DEU), US states (US-CA), Nordic zones (SE3),
    Chinese and Canadian provinces (CN-BJ, CA-QC), regions of a cloud (gcp:europe-west1).

    From CodeCarbon's tables: Ember / Our World in Data for countries, EPA eGRID for US states (lb/MWh there),
    ENTSO-E for the Nordic bidding zones, China's MEE / NBS, Google Cloud's own figures. Provinces of Canada
    have shares of sources there, in per cent: each counts with the lifecycle factor that the same tables have
    for it (CodeCarbon itself counts what is burned only, and so Quebec's dams as 0).
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
    for zone, row in source.get_china_provincial_emissions_data()["data"].items():
        zones.setdefault(zone, float(row["emission_factor"]))
    factors = source.get_carbon_intensity_per_source_data()
    provinces = pycountry.subdivisions.get(country_code="CA")  # type: ignore[no-untyped-call]
    of_canada = {each.name.lower(): each.code for each in provinces}
    for province, shares in source.get_country_energy_mix_data("can").items():
        known = {name: shares[name] for name in SOURCES_OF_CANADA}
        grams = sum(share * factors[SOURCES_OF_CANADA[name]] for name, share in known.items())
        zones[of_canada[province]] = grams / sum(known.values())
    for row in source.get_cloud_emissions_data().to_dict("records"):
        zones[f"{row['provider']}:{row['region']}"] = float(row["impact"])
    return zones


@dataclass(frozen=True)
class Static:
    """The same intensity at all times: `zones` by config, else the installed annual average."""

    zones: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for zone, value in self.zones.items():
            require_number("grid.zones", zone, value, least=0)

    def about(self) -> dict[str, str]:
        """Where the averages come from."""
        own = f"; by config: {', '.join(sorted(self.zones))}" if self.zones else ""
        return {"source": INSTALLED + own, "factor": "annual average"}

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


@dataclass(frozen=True)
class Synthetic:
    """A made-up day and year around the zone's installed average: for trying out, not for reporting.

    By the hour, intensity = average × (1 + day(local hour) + year(day)), where
    day(h) = evening_swing · cos(2π(h - 19)/24) - midday_dip · (dip(h) - mean of dip over a day),
    dip(h) = exp(-((h - 13)/2.5)²/2),
    year(d) = seasonal_swing · cos(2π(d - 15)/365.25), d days from 1 January.
    So it is highest on winter evenings, as where gas meets the peak, and lowest at noon, as where the sun
    shines; its mean over a year is the average. The same for every zone but for its average and its clock.
    """

    evening_swing: float = 0.15
    midday_dip: float = 0.3
    seasonal_swing: float = 0.1
    utc_offset_h: Mapping[str, float] = field(default_factory=dict)
    """By zone: hours by which its clocks are ahead of UTC, 0 where it is not named."""
    zones: Mapping[str, float] = field(default_factory=dict)
    """g/kWh by zone, which win over the installed averages."""

    def __post_init__(self) -> None:
        for name in ("evening_swing", "midday_dip", "seasonal_swing"):
            require_number("grid", name, getattr(self, name), least=0)
        total = self.evening_swing + self.midday_dip + self.seasonal_swing
        require(total < 1, f"grid: evening_swing + midday_dip + seasonal_swing must be below 1 ({total:g})")
        for zone, hours in self.utc_offset_h.items():
            require_number("grid.utc_offset_h", zone, hours, least=-12)
        Static(self.zones)

    def about(self) -> dict[str, str]:
        """That its hours are made up."""
        return Static(self.zones).about() | {
            "factor": "annual average, its hours and seasons made up (synthetic)"
        }

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """One step an hour, by UTC. Raises ConfigError for a zone that no table has."""
        [(_, average)] = Static(self.zones).steps(zone, begin, end)
        first = begin.replace(minute=0, second=0, microsecond=0)
        hours = int((end - first) / timedelta(hours=1)) + 1
        local = [first + timedelta(hours=k + self.utc_offset_h.get(zone, 0.0)) for k in range(hours)]
        of_year = [at - at.replace(month=1, day=1, hour=0, minute=0) for at in local]
        day = np.array([span / timedelta(days=1) for span in of_year])
        shape = self._day((day % 1) * 24) + self.seasonal_swing * np.cos(2 * np.pi * (day - 15) / 365.25)
        return [(first + timedelta(hours=k), average * float(1 + shape[k])) for k in range(hours)]

    def _day(self, hour: Floats) -> Floats:
        every = np.arange(24.0)
        dip = np.exp(-(((hour - 13) / 2.5) ** 2) / 2) - np.exp(-(((every - 13) / 2.5) ** 2) / 2).mean()
        evening = self.evening_swing * np.cos(2 * np.pi * (hour - 19) / 24)
        return np.asarray(evening - self.midday_dip * dip)


@dataclass(frozen=True)
class Trace:
    """What a CSV or Parquet file says: rows of zone, utc and a value, each in force until the zone's next.

    The last row holds for the zone's usual step. A file may be compressed. Exports of Electricity Maps are
    read too, under either of their headers (`pipeline.trace_file`).
    """

    path: str
    column: str = "lifecycle_g_per_kwh"
    """Of the values, in gCO2e/kWh; of an export lifecycle_g_per_kwh or direct_g_per_kwh. Which factors they
    were made with is part of every result."""
    wrap: bool = False
    """Begin again from the first row after the last, and so before the first: a choice, never a default."""

    def __post_init__(self) -> None:
        require(isinstance(self.wrap, bool), f"grid.wrap: must be true or false ({self.wrap!r})")
        self._zones()

    def steps(self, zone: str, begin: datetime, end: datetime) -> Sequence[tuple[datetime, float]]:
        """The rows from begin to end. Raises ConfigError for a zone or a time that the file does not have."""
        zones = self._zones()
        if zone not in zones:
            raise ConfigError(f"zone: {self.path} has no {zone!r} (it has {', '.join(sorted(zones)[:12])})")
        since, values, until = zones[zone].since, zones[zone].g_per_kwh, zones[zone].until
        asked = [at.astimezone(UTC).timestamp() for at in (begin, end)]
        if not self.wrap:
            covered = f"{utc_text(since[0])} to {utc_text(until)}"
            require(
                since[0] <= asked[0] and asked[1] <= until,
                f"zone: {self.path} has {zone} from {covered}, and the run is from {utc_text(asked[0])} to "
                f"{utc_text(asked[1])}; set start_utc within it, or grid.wrap=true",
            )
        period = until - since[0]
        first, last = (int((at - since[0]) // period) if self.wrap else 0 for at in asked)
        found = []
        for turn in range(first, last + 1):
            at = since + turn * period
            ends = np.append(at[1:], at[0] + period)
            found += [(at[k], values[k]) for k in np.flatnonzero((ends > asked[0]) & (at <= asked[1]))]
        return [(datetime.fromtimestamp(float(at), UTC), float(value)) for at, value in found]

    def about(self) -> dict[str, str]:
        """The file's name and hash, the factor, and how many of its rows the file calls estimated."""
        path, zones = Path(self.path).expanduser(), self._zones()
        estimated = sum(zone.num_estimated for zone in zones.values())
        return {
            "source": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "factor": self.column,
            "estimated": f"{estimated} of {sum(len(zone.since) for zone in zones.values())} rows",
        }

    def _zones(self) -> Mapping[str, Series]:
        path = Path(self.path).expanduser()
        require(path.is_file(), f"grid.path: no such file ({path})")
        return read_trace(path, self.column, path.stat().st_mtime_ns)


def require_average(grid: Grid) -> None:
    """Refuse a marginal source: it tells what a change would do, not what a run emitted (GHG Protocol)."""
    require(
        not getattr(grid, "marginal", False),
        "grid: a marginal source cannot account for what a run emitted; choose one of average intensity (for "
        "WattTime grid.signal=co2_aoer)",
    )


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

    def mean(self, device: npt.ArrayLike, begin_s: npt.ArrayLike, end_s: npt.ArrayLike) -> Floats:
        """Its average over intervals of the run; over an empty one, what holds at its begin.

        device: where it stands among `names`; any of the three may be one value for all intervals.
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
