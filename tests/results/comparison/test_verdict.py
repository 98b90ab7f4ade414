"""The sentences of a comparison."""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.decomposition import Footprint
from pipeline.domain.fleet import Fleet
from pipeline.results.comparison.change_bounds import change_bounds
from pipeline.results.comparison.side import Side
from pipeline.results.comparison.verdict import verdict
from tests.results.comparison.conftest import side


def test_how_much_why_and_whether_the_order_holds(fast: Side, clean: Side) -> None:
    """75 mg become 3.33 mg; energy 300 J becomes 120 J."""
    found = verdict(fast, clean, (-0.09, -0.06))
    assert found.startswith("on clean emits 95.6% less than on fast: energy -28.1%, intensity -67.4%.")
    assert " The runs also differ in: workload." in found
    assert found.endswith(
        " the change is -120.0% to -80.0% of what on fast emits as stated, which may itself be more: "
        "the order holds."
    )
    assert verdict(fast, clean, (-0.09, 0.06)).endswith("it is uncertain which of the two emits less.")
    unknown = (math.nan, math.nan)
    assert verdict(fast, clean, unknown).endswith("it is uncertain which of the two emits less.")


def test_a_saving_that_is_all_cleaner_electricity() -> None:
    """At 8% more energy and 28% less intensity."""
    a, b = Side("a", Footprint(36.0, 0.0053)), Side("b", Footprint(38.842, 0.0041))
    assert verdict(a, b, None).endswith(
        "Cleaner electricity explains 130% of the saving, more than the whole: "
        "energy per inference rose by 7.9%."
    )


def test_why_nothing_is_bounded(fast: Side, clean: Side) -> None:
    """A ledger of a device that draws as much idle as busy does not tell for how long it was busy."""
    assert fast.fleet is not None
    quick, other = fast.fleet.devices
    even = replace(fast, fleet=replace(fast.fleet, devices=(replace(quick, idle_w=30.0), other)))
    assert change_bounds(even, clean) is None
    told = "The ranges bound nothing, as active_w is idle_w for fast: state it a little above."
    assert verdict(even, clean, None).endswith(told)
    assert told not in verdict(fast, clean, None)


def test_equal_runs_and_a_run_that_emits_nothing(fast: Side) -> None:
    other = replace(fast, name="same")
    assert verdict(fast, other, None) == "same emits as much as on fast: no effect differs."
    none = Side("none", Footprint(0.0, 0.0))
    assert verdict(none, fast, None) == "none emits nothing, and on fast 0.07500 g per inference."


def test_runs_that_reserve_other_devices_say_so(two_devices: Fleet, fast: Side, clean: Side) -> None:
    """Under `used` each run has the idle power of its own device; under `fleet` both have that of both."""
    assert (fast.reserved, clean.reserved) == (("fast",), ("clean",))
    warning = (
        "Idle power and manufacture count on the devices that each used only: on fast of fast and on clean"
    )
    assert warning in verdict(fast, clean, None)
    assert warning not in verdict(fast, replace(fast, name="same"), None)
    whole = [side(two_devices, name, Accounting(reserved="fleet")) for name in ("fast", "clean")]
    assert whole[0].reserved == whole[1].reserved == ("fast", "clean")
    assert warning not in verdict(whole[0], whole[1], None)
