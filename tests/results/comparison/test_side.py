"""The sides of a comparison, and which may be compared."""

from __future__ import annotations

import math

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.results.comparison.side import Side, require_one_boundary
from tests.results.comparison.conftest import side


def test_a_run_knows_its_intensity_and_its_boundary(fast: Side) -> None:
    assert fast.g_per_kwh == pytest.approx(600 * 1.5)
    assert fast.holds("network")
    assert not fast.holds("embodied")
    assert fast.parts is not None
    assert fast.parts.to_numpy().sum() == pytest.approx(fast.footprint.total_g)


def test_a_publication_does_not_state_its_components(published: Side, fast: Side) -> None:
    assert published.g_per_kwh == pytest.approx(300)
    assert not published.holds("dynamic")
    require_one_boundary(published, fast)
    assert math.isnan(Side("nothing", type(fast.footprint)(0.0, 0.0)).g_per_kwh)


def test_runs_that_count_different_things_are_not_compared(fast: Side, lifetimes: Fleet) -> None:
    with pytest.raises(ConfigError, match="boundary: only one of 'on fast' and 'on clean' counts embodied"):
        require_one_boundary(fast, side(lifetimes, "clean", Accounting()))
    assert fast.fleet is not None
    with pytest.raises(ConfigError, match="accounting.idle: 'on fast' counts full and 'on clean' marginal"):
        require_one_boundary(fast, side(fast.fleet, "clean", Accounting("marginal")))
    with pytest.raises(ConfigError, match="accounting.reserved: 'on fast' counts used and 'on clean' fleet"):
        require_one_boundary(fast, side(fast.fleet, "clean", Accounting(reserved="fleet")))
