"""Simulated runs agree with emulated ones under load: `make agreement`, shrunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.execution.agreement import FIGURES, agreement


@pytest.mark.alone
def test_both_backends_queue_alike() -> None:
    """Two models, four plans, loads .4 and .8; the simulation has the service times of the emulated run.

    How well the profile predicts these is asserted coarsely, because the host of the tests may be busy:
    carbon follows from them. `make agreement` and `make fidelity` print it.
    """
    torch.set_num_threads(1)
    table = agreement(requests=80, repeats=(0,))
    print(table.to_string())
    assert len(table) == 16
    assert np.abs(table[[f"{key} replayed" for key in FIGURES]].to_numpy()).max() <= 0.05
    assert table["carbon_ug error"].abs().median() <= 0.2
