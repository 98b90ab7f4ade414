"""Shares of the host's energy that add up to it."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.carbon.apportioned import apportioned
from pipeline.domain.fleet import Fleet
from tests.conftest import record, records


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cpu_s=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20),
    joules=st.floats(1e-3, 1e9),
    seed=st.integers(0, 9),
)
def test_shares_add_up_to_the_host(cpu_s: list[float], joules: float, seed: int, two_devices: Fleet) -> None:
    rows = [
        record(k, 0, "compute", ("fast", "clean")[(k + seed) % 2], k, k + 1.0, cpu_s=own)
        for k, own in enumerate(cpu_s)
    ]
    table = apportioned(joules, records(rows, len(rows)), two_devices)
    for rule in ("cpu", "quota"):
        assert table[f"{rule}_energy_j"].sum() == pytest.approx(joules, rel=1e-9)
    quota = {device.name: device.cpu_quota for device in two_devices.devices}
    assert table["quota_share"].tolist() == [quota["fast"] / 2, quota["clean"] / 2]
    by_cpu = dict(zip(table["device"], table["cpu_energy_j"], strict=True))
    own = pd.Series(cpu_s)[(pd.RangeIndex(len(cpu_s)) + seed) % 2 == 0].sum()
    assert by_cpu["fast"] == pytest.approx(joules * own / sum(cpu_s), rel=1e-9, abs=1e-12)


def test_simulated_runs_have_no_cpu_shares(two_devices: Fleet) -> None:
    run = records([record(0, 0, "compute", "fast", 0.0, 1.0, cpu_s=float("nan"))], 1.0)
    assert list(apportioned(10.0, run, two_devices)) == ["device", "quota_share", "quota_energy_j"]
