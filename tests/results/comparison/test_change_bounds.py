"""How far the change of carbon can be from its value, wherever coefficients lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.carbon.accounting import Accounting
from pipeline.domain.fleet import Fleet
from pipeline.results.comparison.change_bounds import change_bounds
from pipeline.results.comparison.side import Side
from tests.results.comparison.conftest import side


def test_the_change_lies_within_its_bounds(fast: Side, clean: Side) -> None:
    """Ends: 75 mg × 2 × 1.1 less 3.33 mg × .5 × .9, and 75 mg × .5 × .9 less 3.33 mg × 2 × 1.1."""
    bounds = change_bounds(fast, clean)
    assert bounds == pytest.approx((0.0015 - 0.165, 0.0033333 * 2.2 - 0.03375), rel=1e-4)


def test_a_device_on_both_sides_has_the_same_errors(fast: Side) -> None:
    assert change_bounds(fast, fast) == pytest.approx((0, 0))


def test_devices_of_the_same_name_that_differ_are_two(fast: Side, two_devices: Fleet) -> None:
    quick, clean = two_devices.devices
    assert fast.accounting is not None
    other = side(
        replace(two_devices, devices=(replace(quick, active_w=31.0), clean)), "fast", fast.accounting
    )
    low, high = change_bounds(fast, other) or (0, 0)
    assert low < -0.1
    assert high > 0.1


def test_names_that_end_in_underscores_stay_apart(fast: Side, two_devices: Fleet) -> None:
    """`d` and `d_` of B were both set apart from A's as `d__`, and `d` took the ranges of `d_`.

    Ends: 75 mg × 1 × .9 less 75 mg × 2 × 1.1, and 75 mg × 4 × 1.1 less 75 mg × .5 × .9.
    """
    quick, clean = two_devices.devices
    a = replace(two_devices, devices=(replace(quick, name="d"), replace(clean, name="d_")))
    wider = replace(quick, name="d", ranges={"active_w": [30, 120]})
    b = replace(two_devices, devices=(wider, replace(clean, name="d_", memory_bytes=2e9)))
    assert fast.accounting is not None
    bounds = change_bounds(side(a, "d", fast.accounting), side(b, "d", fast.accounting))
    assert bounds == pytest.approx((0.0675 - 0.165, 0.33 - 0.03375))


def test_no_bounds_without_ranges_or_with_a_publication(
    fast: Side, published: Side, two_devices: Fleet
) -> None:
    bare = side(two_devices, "clean", Accounting())
    assert change_bounds(fast, published) is None
    assert change_bounds(fast, bare) is None
    assert change_bounds(bare, bare) is None
