"""The host's joules shared out over the devices that ran. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.domain.fleet import Fleet
from pipeline.domain.records import Records


def apportioned(energy_j: float, records: Records, fleet: Fleet) -> pd.DataFrame:
    """The host's joules shared out over the devices that ran, one row each; every rule's add up to them.

    Columns: device, and for each rule `<rule>_share` and `<rule>_energy_j`. cpu: by the CPU
    seconds of its stages, where these were measured; quota: by its CPU quota, as the paper does. A share of
    the host is accounting: no sensor told the devices apart.
    """
    names = list(records.reserved)
    done = records.table[records.table["kind"] == "compute"]
    cpu_s = done.groupby(done["device"].astype(str))["cpu_s"].sum().to_dict()
    weights = {
        "cpu": [float(cpu_s.get(name, 0.0)) for name in names],
        "quota": [fleet.by_name[name].cpu_quota for name in names],
    }
    table = pd.DataFrame({"device": names})
    for rule, own in weights.items():
        weight = np.array(own, dtype=float)
        if np.isfinite(weight).all() and weight.sum() > 0:
            share = weight / weight.sum()
            table = table.assign(**{f"{rule}_share": share, f"{rule}_energy_j": share * energy_j})
    return table
