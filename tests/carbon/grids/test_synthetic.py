"""The shape of a synthetic day and year."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.domain.checks import ConfigError
from tests.carbon.conftest import NOW
from tests.conftest import configured


def test_a_synthetic_year_has_the_installed_average_and_a_day_its_shape() -> None:
    grid = configured("grid", "synthetic")
    year = [value for _, value in grid.steps("DE", NOW, NOW + timedelta(days=365) - timedelta(hours=1))]
    assert len(year) == 8760
    assert np.mean(year) == pytest.approx(380.95, rel=0.002)
    day = np.array(year).reshape(365, 24)
    assert set(day.argmin(axis=1)) == {12}
    assert set(day.argmax(axis=1)) <= {19, 20}
    assert day[14].mean() / day[197].mean() == pytest.approx(1.1 / 0.9, rel=0.01)
    # Two hours ahead, its noon is two hours earlier by UTC; steps begin with the hour in force.
    ahead = configured("grid", "synthetic", utc_offset_h={"DE": 2}).steps(
        "DE", NOW, NOW + timedelta(hours=23)
    )
    assert int(np.argmin([value for _, value in ahead])) == 10
    begin = NOW + timedelta(minutes=40)
    assert [since for since, _ in grid.steps("DE", begin, begin + timedelta(hours=1))] == [
        NOW,
        NOW + timedelta(hours=1),
    ]
    with pytest.raises(ConfigError, match="must be below 1"):
        Synthetic(midday_dip=0.9)
    with pytest.raises(ConfigError, match="unknown zone"):
        grid.steps("XX", NOW, NOW)
