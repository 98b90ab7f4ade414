"""Records x Fleet x Grid -> ledger: what each request emitted, by component. Pure.

The boundary is the use of the devices: their dynamic and idle power, the links' energy where known, embodied
carbon where known. Location-based, average intensity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain import Fleet, Records, require
from pipeline.grid import Intensity

J_PER_KWH = 3.6e6
SECONDS_PER_YEAR = 365.25 * 24 * 3600
COMPONENTS = ("dynamic", "idle", "network", "embodied")
ATTRIBUTIONS = ("marginal", "proportional", "full")
LEDGER_COLUMNS = (
    "request",
    "stage",
    "device",
    "component",
    "energy_j",
    "intensity_g_per_kwh",
    "pue",
    "carbon_g",
)


@dataclass(frozen=True)
class Accounting:
    """Which idle energy counts.

    marginal: none. proportional: idle power while a stage runs. full: idle power of every reserved device
    over the whole run, as the SCI specification (ISO/IEC 21031) counts reserved hardware.
    """

    idle: str = "full"

    def __post_init__(self) -> None:
        require(
            self.idle in ATTRIBUTIONS,
            f"accounting.idle: must be one of {', '.join(ATTRIBUTIONS)} (idle: {self.idle!r})",
        )


Number = TypeVar("Number", float, npt.NDArray[np.float64])


def carbon_g(energy_j: Number, intensity_g_per_kwh: Number, pue: Number) -> Number:
    """Eq. 2 of the paper: C = E[kWh] * I[g/kWh] * PUE."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh * pue


def account(records: Records, fleet: Fleet, intensity: Intensity, accounting: Accounting) -> pd.DataFrame:
    """The ledger: one row per request, stage, device and component (columns: LEDGER_COLUMNS).

    Energy of a device is active_w while a stage runs and idle_w otherwise, told apart as
    dynamic = (active_w - idle_w) * busy_s and idle = idle_w * the seconds that the attribution rule counts.
    The intensity of a row is the mean over the time in which its energy was drawn.
    Idle and embodied rows belong to the run, not to a request (request and stage are -1). A link's energy is
    shared half and half by its two ends. A component that nobody can know (a link without energy, a reserved
    device without embodied carbon) has no rows.
    """
    rows = [_dynamic(records, fleet), _idle(records, fleet, accounting.idle), _network(records, fleet)]
    ledger = pd.concat([row for row in rows if not row.empty] or rows[:1], ignore_index=True)
    ledger["intensity_g_per_kwh"] = np.nan
    for device, own in ledger.groupby("device"):
        mean = intensity.mean(str(device), own["begin_s"], own["end_s"])
        ledger.loc[own.index, "intensity_g_per_kwh"] = mean
    ledger["pue"] = ledger["device"].map({device.name: device.pue for device in fleet.devices}).astype(float)
    ledger["carbon_g"] = carbon_g(
        *(ledger[name].to_numpy(dtype=float) for name in ("energy_j", "intensity_g_per_kwh", "pue"))
    )
    embodied = _embodied(records, fleet)
    if not embodied.empty:
        ledger = pd.concat([ledger, embodied], ignore_index=True)
    known = ledger["component"].isin(known_components(records, fleet))
    return ledger.loc[known, list(LEDGER_COLUMNS)].reset_index(drop=True)


def known_components(records: Records, fleet: Fleet) -> tuple[str, ...]:
    """The components that this ledger can state; the others are left out of every figure."""
    transfers = records.table[records.table["kind"] == "transfer"]
    links = [fleet.link(*ends.split("->")) for ends in transfers["device"].unique()]
    network = all(link is not None and link.energy_j_per_byte is not None for link in links)
    embodied = all(
        fleet.by_name[name].embodied_kg is not None and fleet.by_name[name].lifetime_years is not None
        for name in records.reserved
    )
    return ("dynamic", "idle", *(["network"] if network else []), *(["embodied"] if embodied else []))


def _busy(records: Records) -> pd.DataFrame:
    table = records.table
    done = table[table["kind"] == "compute"]
    return pd.DataFrame(
        {
            "request": done["request"],
            "stage": done["stage"],
            "device": done["device"],
            "begin_s": done["start_s"].astype(float),
            "end_s": done["end_s"].astype(float),
            "busy_s": (done["end_s"] - done["start_s"]).astype(float),
        }
    )


def _dynamic(records: Records, fleet: Fleet) -> pd.DataFrame:
    busy = _busy(records)
    power_w = {device.name: device.active_w - device.idle_w for device in fleet.devices}
    energy_j = busy["busy_s"] * busy["device"].map(power_w).astype(float)
    return busy.drop(columns="busy_s").assign(component="dynamic", energy_j=energy_j)


def _idle(records: Records, fleet: Fleet, attribution: str) -> pd.DataFrame:
    """One row a device over the whole run, or under `proportional` one for each of its tasks."""
    run = pd.DataFrame({"device": list(records.reserved), "begin_s": 0.0, "end_s": records.window_s})
    drawn = {
        "marginal": run.assign(busy_s=0.0),
        "proportional": _busy(records),
        "full": run.assign(busy_s=records.window_s),
    }[attribution]
    idle_w = {device.name: device.idle_w for device in fleet.devices}
    energy_j = drawn["busy_s"] * drawn["device"].map(idle_w).astype(float)
    return drawn.drop(columns="busy_s").assign(request=-1, stage=-1, component="idle", energy_j=energy_j)


def _network(records: Records, fleet: Fleet) -> pd.DataFrame:
    transfers = records.table[records.table["kind"] == "transfer"]
    j_per_byte = {}
    for ends in transfers["device"].unique():
        link = fleet.link(*ends.split("->"))
        j_per_byte[ends] = np.nan if link is None else link.energy_j_per_byte
    half_j = 0.5 * transfers["bytes"].astype(float) * transfers["device"].map(j_per_byte).astype(float)
    rows = transfers[["request", "stage"]].assign(
        component="network", energy_j=half_j, begin_s=transfers["start_s"], end_s=transfers["end_s"]
    )
    ends = transfers["device"].astype(str).str.extract("(.*)->(.*)")
    return pd.concat([rows.assign(device=ends[end]) for end in ends], ignore_index=True).dropna()


def _embodied(records: Records, fleet: Fleet) -> pd.DataFrame:
    """Time share of the manufacturing carbon (SCI: M = TE * TS): embodied * window / lifetime."""
    rows = []
    for name in records.reserved:
        device = fleet.by_name[name]
        if device.embodied_kg is None or device.lifetime_years is None:
            continue
        share = records.window_s / (device.lifetime_years * SECONDS_PER_YEAR)
        rows.append(
            {
                "request": -1,
                "stage": -1,
                "device": name,
                "component": "embodied",
                "energy_j": 0.0,
                "intensity_g_per_kwh": np.nan,
                "pue": np.nan,
                "carbon_g": device.embodied_kg * 1e3 * share,
            }
        )
    return pd.DataFrame(rows)
