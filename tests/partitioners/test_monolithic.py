"""The whole model on one device."""

from __future__ import annotations

import pytest

from partitioners.monolithic import Monolithic
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from tests.conftest import MakeProblem


def test_monolithic_is_one_stage_on_the_named_device(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = make_problem(two_devices)
    assert Monolithic("clean").partition(problem) == Plan((0, 6), ("clean",))
    assert Monolithic().partition(problem) == Plan((0, 6), (AUTO,))
    with pytest.raises(ConfigError, match="partitioner.device: unknown device 'none'.*fast, clean"):
        Monolithic("none").partition(problem)
