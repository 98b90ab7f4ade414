"""Shares of the host's energy, one for each device of a run. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records


def apportioned(energy_j: float, records: Records, fleet: Fleet) -> pd.DataFrame:
    """The host's joules shared out over the reserved devices, one row each; the shares of a rule add up to 1.

    Columns: device, and for each rule `<rule>_share` and `<rule>_energy_j`. Rule cpu: in proportion to the
    CPU seconds of a device's stages, where these were measured; quota: to its CPU quota, as in the paper. The
    shares are computed, not measured: no sensor covers a single device.
    """
    names = list(records.reserved)
    done = records.table[records.table["kind"] == "compute"]
    cpu_s = done.groupby(done["device"].astype(str))["cpu_s"].sum().to_dict()
    weights = {
        "cpu": [float(cpu_s.get(name, 0.0)) for name in names],
        "quota": [fleet.by_name[name].cpu_quota for name in names],
    }
    table = pd.DataFrame({"device": names})
    for rule, values in weights.items():
        weight = np.array(values, dtype=float)
        if np.isfinite(weight).all() and weight.sum() > 0:
            share = weight / weight.sum()
            table = table.assign(**{f"{rule}_share": share, f"{rule}_energy_j": share * energy_j})
    return table
