"""Tables larger than a limit are refused before they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.carbon.utc_table import read_table
from pipeline.domain.checks import ConfigError


def test_a_parquet_file_of_many_equal_values_is_refused(tmp_path: Path) -> None:
    """A million zeros take a few kB on disk and 8 MB in memory."""
    path = tmp_path / "trace.parquet"
    pd.DataFrame({"value": np.zeros(1_000_000)}).to_parquet(path)
    assert path.stat().st_size < 100_000
    assert len(read_table("grid", path, 8_000_000)) == 1_000_000
    with pytest.raises(ConfigError, match=r"^grid\.path: .* holds more than 8\.0 MB unpacked"):
        read_table("grid", path, 7_999_999)
