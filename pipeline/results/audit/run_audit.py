"""The audit of a run: boundary, method, grid, components, coefficients, software, SCI. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.fleet import Fleet

METHODS = {
    "emulated": "emulated: stages ran on this host, their CPU time ÷ the device's speed; energy is "
    "modelled as power × that time, not metered on a device",
    "simulated": "simulated: stages take the time that this host's profile measured, nothing was computed; "
    "energy is modelled as power × that time",
    "measured": "measured: stages ran on the devices themselves; energy is modelled as power × that time",
}
"""How the devices' figures were obtained, by `Records.measurement`."""
SOURCES = (
    "SCI: ISO/IEC 21031:2024, R = one inference",
    "GHG Protocol, scope 2 guidance: location-based, average factors",
    "Decomposition: LMDI-I (Ang 2005)",
)
_IDENTIFYING_TAGS = (
    "model",
    "fleet",
    "partitioner",
    "scheduler",
    "backend",
    "measurement",
    "reaccounted_from",
)


@dataclass(frozen=True, eq=False)
class AuditedRun:
    """The parts of a stored run that an audit needs."""

    identity: Mapping[str, str]
    """As `identity` returns it."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    about: Mapping[str, Any]
    """Its run.json: start_utc, window_s, reserved, measurement, and where known grid, meter, boundary and
    software."""
    ledger: pd.DataFrame
    """Columns: LEDGER_COLUMNS."""
    config: Mapping[Any, Any]
    fleet: Fleet
    accounting: Accounting


def identity(run_id: str, name: str, status: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Id, name, status, the tags that identify a run or sweep, and its git commit."""
    about = {"id": run_id, "name": name, "status": status}
    about |= {key: tags[key] for key in _IDENTIFYING_TAGS if key in tags}
    return about | {"git commit": tags.get("mlflow.source.git.commit", "not known")}


def run_audit(run: AuditedRun) -> dict[str, Any]:
    """How a run's figures were obtained: sections by title, of JSON values."""
    about = run.about
    return {
        "run": dict(run.identity),
        "boundary": about.get("boundary", run.tags.get("boundary", "")),
        "method": {
            "devices": METHODS.get(about["measurement"], about["measurement"]),
            "host": about.get("meter", run.tags.get("host_meter", "none")),
            "sources": list(SOURCES),
        },
        "window": {
            "start_utc": about["start_utc"],
            "window_s": about["window_s"],
            "reserved": list(run.fleet.by_name) if run.accounting.reserved == "fleet" else about["reserved"],
        },
        "grid": about.get("grid", {}),
        "metrics": dict(run.metrics),
        "sci": _sci(run.metrics, run.accounting),
        "components": _components(run).to_dict("records"),
        "devices": _by_device(run.ledger).to_dict("records"),
        "coefficients": coefficients.table(run.fleet, run.accounting, _mean_g_per_kwh(run.ledger)).to_dict(
            "records"
        ),
        "software": about.get("software", {}),
        "config": dict(run.config),
    }


def _mean_g_per_kwh(ledger: pd.DataFrame) -> dict[str, float]:
    """The mean intensity of each device that drew energy, by name, PUE not included."""
    drawn = ledger[ledger["energy_j"] > 0]
    kwh = drawn["energy_j"] * drawn["pue"] / J_PER_KWH
    sums = pd.DataFrame({"device": drawn["device"].astype(str), "kwh": kwh, "g": drawn["carbon_g"]})
    sums = sums.groupby("device").sum()
    sums = sums[sums["kwh"] > 0]  # less than the least float is none
    return {str(name): float(value) for name, value in (sums["g"] / sums["kwh"]).items()}


def _sci(metrics: Mapping[str, float], accounting: Accounting) -> dict[str, Any]:
    """SCI per inference, or why it is not known."""
    if "sci_g_per_inf" in metrics:
        return {"g_per_inference": metrics["sci_g_per_inf"], "R": "one inference"}
    missing = [c for c in COMPONENTS if f"carbon_{c}_g" not in metrics]
    why = [f"{' and '.join(missing)} not known"] if missing else []
    if accounting.idle != "full":
        why.append(f"idle power counted by the rule {accounting.idle!r}, and SCI counts reserved hardware")
    if accounting.reserved != "fleet":
        why.append("devices without a task are left out (accounting.reserved: used)")
    return {"not stated, because": "; ".join(why) or "nothing was answered"}


def _components(run: AuditedRun) -> pd.DataFrame:
    """One row a component, and `total`. Columns: component, energy_j, low_g, carbon_g, high_g (None where no
    ranges are given).
    """
    rows = []
    ranged = coefficients.known(run.fleet, run.accounting)
    for name in (*COMPONENTS, "total"):
        own = run.ledger if name == "total" else run.ledger[run.ledger["component"] == name]
        if own.empty:
            continue
        low, high = None, None
        if ranged:
            low, high = coefficients.run_bounds(own, run.fleet, run.accounting)
        rows.append((name, float(own["energy_j"].sum()), low, float(own["carbon_g"].sum()), high))
    return pd.DataFrame(rows, columns=["component", "energy_j", "low_g", "carbon_g", "high_g"])


def _by_device(ledger: pd.DataFrame) -> pd.DataFrame:
    """One row a device and component. Columns: device, component, energy_j, carbon_g."""
    by = ledger.groupby([ledger["device"].astype(str), ledger["component"].astype(str)])
    return by[["energy_j", "carbon_g"]].sum().reset_index()
