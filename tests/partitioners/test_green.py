"""The cleaner device gets the larger share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partitioners.green import Green
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from tests.conftest import MakeProblem


def test_green_gives_the_cleaner_device_more(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)  # capability 1 and 1, 600 and 100 g/kWh: shares 1/7 and 6/7
    # Eq. 5: 108, 0, 144, 0, 0, 2560 of 2812: 1/7 is 401.7, reached in the last layer, which must stay.
    assert Green().partition(problem) == Plan((0, 5, 6), ("fast", "clean"))
    even = replace(problem, intensity_g_per_kwh={"fast": 3200.0, "clean": 100.0})  # 1/33: 85.2
    assert Green().partition(even) == Plan((0, 1, 6), ("fast", "clean"))
    assert Green(pin=False).partition(even).devices == (AUTO, AUTO)
    free = replace(problem, intensity_g_per_kwh={"fast": 600.0, "clean": 0.0})
    with pytest.raises(ConfigError, match=r"fleet.devices.clean: .*must be above 0 g/kWh"):
        Green().partition(free)
