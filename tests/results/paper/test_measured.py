"""What repetitions did, as one row a configuration."""

from __future__ import annotations

import pytest

from pipeline.domain.energy import J_PER_KWH
from pipeline.results.paper.measured import measured
from tests.results.paper.conftest import REPETITIONS


def test_carbon_by_the_papers_accounting_is_the_hosts_at_the_nodes_intensity() -> None:
    """7.2 J at 380 g/kWh are .76 mg, for two inferences."""
    figures = measured(REPETITIONS).set_index("paper")
    assert figures["host_g_per_inf"]["ce_green"] == pytest.approx(7.2 * 380 / J_PER_KWH / 2)
    assert figures["share of green"]["ce_green"] == 1
    assert figures["share of green"]["monolithic"] == 0
    assert figures["latency_ms_mean"]["monolithic"] == pytest.approx(200.05)
    assert figures["latency_ms_mean_lo"]["monolithic"] == pytest.approx(200.05 - 12.706 * 0.05, abs=1e-4)
