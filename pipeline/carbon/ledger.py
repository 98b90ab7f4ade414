"""Records x Fleet x Grid -> ledger: the emissions of each request, by component. Pure.

The boundary is the use of the devices: their dynamic and idle power, the links' energy where known, embodied
carbon where known. Location-based, average intensity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.carbon.accounting import COMPONENTS, Accounting, counted_idle_w
from pipeline.carbon.intensity import Intensity
from pipeline.domain.checks import LARGEST, require
from pipeline.domain.energy import LINK_PUE, carbon_g, embodied_g, stage_energy_j
from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records

Ints = npt.NDArray[np.int64]

Floats = npt.NDArray[np.float64]

LEDGER_COLUMNS = (
    "request",
    "stage",
    "device",
    "component",
    "link",
    "energy_j",
    "intensity_g_per_kwh",
    "pue",
    "carbon_g",
)

POSSIBLE = {
    "energy": (0.0, LARGEST["_j"]),
    "carbon": (0.0, LARGEST["_g"]),
    "intensity": (0.0, LARGEST["_g_per_kwh"] * (1 + 1e-9)),  # a quotient of sums
    "PUE": (1.0, 1e9),
}
"""The least and the largest value of a ledger's figures that can be meant."""


def account(records: Records, fleet: Fleet, intensity: Intensity, accounting: Accounting) -> pd.DataFrame:
    """The ledger: one row per request, stage, device and component (columns: LEDGER_COLUMNS).

    A device draws active_w while a stage runs and idle_w otherwise, which gives two components:
    dynamic = (active_w - idle_w) * busy_s and idle = idle_w * the seconds that the attribution rule counts.
    The intensity of a row is the mean over the time in which its energy was drawn.
    Idle and embodied rows belong to the run, not to a request (request and stage are -1). Each end of a link
    accounts for half of its energy, at the end's intensity and LINK_PUE. A component with unknown
    coefficients (see `unknown`) has no rows. Raises ConfigError for records of a device that is not in the
    fleet, and for energy or carbon that cannot be (POSSIBLE), wherever it comes from.
    """
    known = known_components(records, fleet)
    reserved = _reserved(records, fleet, accounting)
    drawn = _computing(records, fleet, accounting.idle, reserved)
    if "network" in known:
        drawn += _moving(records, fleet)
    rows = _Rows.together(drawn)
    pue = np.array([device.pue for device in fleet.devices])[rows.device]
    pue = np.where(rows.component == COMPONENTS.index("network"), LINK_PUE, pue)
    mean_g_per_kwh = intensity.mean(rows.device, rows.begin_s, rows.end_s)
    grams = carbon_g(rows.energy_j, mean_g_per_kwh, pue)
    require_possible(energy=rows.energy_j, carbon=grams)
    ledger = _table(fleet, rows, mean_g_per_kwh, pue, grams)
    if "embodied" not in known:
        return ledger
    rows = _of_the_run("embodied", records, reserved)
    made = _table(fleet, rows, np.nan, np.nan, _embodied_g(records, fleet, reserved))
    return pd.concat([ledger, made], ignore_index=True)


def require_possible(**columns: Floats) -> None:
    """Raise ConfigError for a value below the least or above the most of its column (POSSIBLE)."""
    for name, values in columns.items():
        least, most = POSSIBLE[name]
        possible = bool(np.all((values >= least) & (values <= most)))
        require(
            possible,
            f"ledger: {name} must be a number >= {least:g} and at most {most:g} in every row; "
            "records or fleet are wrong",
        )


def known_components(records: Records, fleet: Fleet) -> tuple[str, ...]:
    """The components whose coefficients are known; all figures leave out the others."""
    left_out = unknown(records, fleet)
    return tuple(component for component in COMPONENTS if component not in left_out)


def unknown(records: Records, fleet: Fleet) -> dict[str, str]:
    """The components with unknown coefficients: by component, the missing coefficients and their owners.

    Devices and links that this run did not use count too, so that all runs of a fleet have the same boundary.
    """
    ways = [str(way) for way in records.table.loc[records.table["kind"] == "transfer", "device"].unique()]
    silent = [link.name for link in fleet.links if link.energy_j_per_byte is None]
    silent += [f"a link {way}" for way in ways if fleet.link(*way.split("->")) is None]
    made = [
        device.name for device in fleet.devices if device.embodied_kg is None or device.lifetime_years is None
    ]
    found = {}
    if silent:
        found["network"] = f"energy_j_per_byte of {', '.join(silent)}"
    if made:
        found["embodied"] = f"embodied_kg or lifetime_years of {', '.join(made)}"
    return found


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a ledger without intensity and carbon: (rows,) arrays; device and component are indices."""

    request: Ints
    stage: Ints
    device: Ints
    component: Ints
    link: Ints
    """Index among the fleet's links, from 1; 0: none."""
    begin_s: Floats
    end_s: Floats
    energy_j: Floats

    @classmethod
    def of(
        cls, component: str, energy_j: npt.ArrayLike, link: npt.ArrayLike = 0, **columns: npt.ArrayLike
    ) -> Self:
        """Rows of one component; a column may be one value for all rows."""
        names = ("request", "stage", "device", "begin_s", "end_s")
        energy, link, *arrays = np.broadcast_arrays(energy_j, link, *(columns[name] for name in names))
        request, stage, device = (each.astype(np.int64, copy=False) for each in arrays[:3])
        codes = np.full(len(energy), COMPONENTS.index(component)), link.astype(np.int64, copy=False)
        begin_s, end_s = (each.astype(float, copy=False) for each in arrays[3:])
        return cls(request, stage, device, *codes, begin_s, end_s, energy.astype(float, copy=False))

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """All rows of the parts, one part after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def _table(
    fleet: Fleet, rows: _Rows, g_per_kwh: npt.ArrayLike, pue: npt.ArrayLike, grams: Floats
) -> pd.DataFrame:
    links = pd.Index(["", *(link.name for link in fleet.links)])
    return pd.DataFrame(
        {
            "request": rows.request,
            "stage": rows.stage,
            "device": pd.Categorical.from_codes(rows.device, pd.Index(list(fleet.by_name))),
            "component": pd.Categorical.from_codes(rows.component, pd.Index(COMPONENTS)),
            "link": pd.Categorical.from_codes(rows.link, links),
            "energy_j": rows.energy_j,
            "intensity_g_per_kwh": g_per_kwh,
            "pue": pue,
            "carbon_g": grams,
        },
        columns=list(LEDGER_COLUMNS),
    )


def _of_the_run(component: str, records: Records, reserved: Ints, energy_j: npt.ArrayLike = 0.0) -> _Rows:
    """One row for each reserved device, over the whole run."""
    return _Rows.of(
        component, energy_j, request=-1, stage=-1, device=reserved, begin_s=0.0, end_s=records.window_s
    )


def _reserved(records: Records, fleet: Fleet, accounting: Accounting) -> Ints:
    """Indices of the reserved devices."""
    strange = [name for name in records.reserved if name not in fleet.by_name]
    require(
        not strange, f"records: {', '.join(strange)[:60]} is not in the fleet ({', '.join(fleet.by_name)})"
    )
    names = fleet.by_name if accounting.reserved == "fleet" else records.reserved
    places = {name: place for place, name in enumerate(fleet.by_name)}
    return np.array([places[name] for name in names], dtype=np.int64)


def _computing(records: Records, fleet: Fleet, attribution: str, reserved: Ints) -> list[_Rows]:
    """Dynamic and idle energy: idle in one row a device, or under `proportional` in one for each task."""
    done = records.table[(records.table["kind"] == "compute").to_numpy()]
    device = _indices(done["device"], list(fleet.by_name))
    begin_s, end_s = (done[name].to_numpy(dtype=float) for name in ("start_s", "end_s"))
    above_idle_w = np.array([each.above_idle_w for each in fleet.devices])
    idle_w = np.array([each.idle_w for each in fleet.devices])
    busy_idle_w, reserved_w = counted_idle_w(idle_w, attribution)
    busy = {"device": device, "begin_s": begin_s, "end_s": end_s}
    dynamic = _Rows.of(
        "dynamic",
        request=done["request"].to_numpy(),
        stage=done["stage"].to_numpy(),
        energy_j=stage_energy_j(end_s - begin_s, above_idle_w[device]),
        **busy,
    )
    if attribution == "proportional":
        joules = stage_energy_j(end_s - begin_s, busy_idle_w[device])
        return [dynamic, _Rows.of("idle", request=-1, stage=-1, energy_j=joules, **busy)]
    return [dynamic, _of_the_run("idle", records, reserved, records.window_s * reserved_w[reserved])]


def _moving(records: Records, fleet: Fleet) -> list[_Rows]:
    """Network energy, one row for each end of a transfer."""
    moved = records.table[(records.table["kind"] == "transfer").to_numpy()]
    ways = [str(way) for way in moved["device"].unique()]
    way = _indices(moved["device"], ways)
    places = {name: place for place, name in enumerate(fleet.by_name)}
    ends = np.array([[places[end] for end in way.split("->")] for way in ways], dtype=np.int64)
    links = [fleet.link(*way.split("->")) for way in ways]
    end_j_per_byte = np.array([link.end_j_per_byte if link else np.nan for link in links], dtype=float)
    end_j = moved["bytes"].to_numpy(dtype=float) * end_j_per_byte[way]
    about: dict[str, npt.ArrayLike] = {name: moved[name].to_numpy() for name in ("request", "stage")}
    about |= {
        "begin_s": moved["start_s"].to_numpy(dtype=float),
        "end_s": moved["end_s"].to_numpy(dtype=float),
    }
    ends = ends.reshape(-1, 2)
    place = np.array([fleet.links.index(link) + 1 if link else 0 for link in links], dtype=np.int64)
    own = {"link": place[way], "energy_j": end_j, **about}
    return [_Rows.of("network", device=ends[way, side], **own) for side in (0, 1)]


def _embodied_g(records: Records, fleet: Fleet, reserved: Ints) -> Floats:
    """(reserved devices,): embodied carbon * window / lifetime (SCI: M = TE * TS)."""
    made_kg, lifetime_years = (
        np.array([getattr(fleet.devices[place], key) for place in reserved], dtype=float)
        for key in ("embodied_kg", "lifetime_years")
    )
    return embodied_g(made_kg, lifetime_years, records.window_s)


def _indices(column: pd.Series[Any], names: Sequence[str]) -> Ints:
    """(rows,): the index of each value of a column among these names."""
    require(not column.isna().any(), "records: a task or transfer must name its device")
    named = column.astype("category").cat.remove_unused_categories().cat
    places = {name: place for place, name in enumerate(names)}
    strange = [str(name) for name in named.categories if name not in places]
    require(not strange, f"records: {', '.join(strange)} is not in the fleet (it has {', '.join(names)})")
    return np.array([places[name] for name in named.categories], dtype=np.int64)[named.codes]
