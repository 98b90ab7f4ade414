"""A table of trials, and what is printed of it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.results.terminal import terminal

LATENCY, CARBON, RATE = "latency_ms_p50", "carbon_g_per_inf", "inferences_per_g"
LESS = ("minimize", "minimize")


@pytest.fixture
def trials() -> pd.DataFrame:
    """Five trials: 2, 0 and 3 are the front (0 its knee), 1 is dominated by 0, and 4 failed."""
    carbon_g = np.array([0.004, 0.0045, 0.006, 0.0038, np.nan])
    return pd.DataFrame(
        {
            "run_id": list("abcde"),
            "number": range(5),
            "name": [f"trial {index}" for index in range(5)],
            "stages": [2, 2, 1, 1, 3],
            "cuts": ["41", "41", "", "", "41, 87"],
            "devices": ["node-green → node-high"] * 2 + ["node-high", "node-green", "node-high"],
            "scheduler": ["green", "green", "green", "performance", "green"],
            "carbon_weight": 0.5,
            LATENCY: [110.0, 120.0, 100.0, 200.0, 90.0],
            CARBON: carbon_g,
            RATE: 1 / carbon_g,
            "transfer_bytes_per_inf": [1e5, 2e5, 0.0, 0.0, 3e5],
        }
    )


def printed(print_it: Any, *data: Any, width: int = 160) -> str:
    console = terminal(io.StringIO(), width)
    print_it(console, *data)
    return str(console.file.getvalue())  # type: ignore[attr-defined]
